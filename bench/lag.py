"""The time from a write to its searchable vector, on an idle system and during a backfill."""

import statistics
import time
from typing import Any

from bench.pipeline import fresh_index, texts
from bench.report import write
from bench.scale import scaled
from bench.stack import BenchStack, bench_stack

WRITES = scaled(80)
BACKFILL_DOCUMENTS = scaled(5000)
PAUSE_SECONDS = 0.3
_LONGEST = 120


def one_lag(stack: BenchStack, index: str, number: int) -> float:
    """Seconds from a write's response until a search finds its passage; the index refreshes once a second."""
    stack.es.index(
        index=index,
        id=f"new-{number}",
        document={"body": f"A new text, number {number}, on lag and how to measure it."},
    )
    began = time.perf_counter()
    passages = "esblend.g1.passages"
    query: dict[str, Any] = {
        "bool": {
            "filter": [
                {"ids": {"values": [f"new-{number}"]}},
                {"nested": {"path": passages, "query": {"exists": {"field": f"{passages}.vector"}}}},
            ]
        }
    }
    while time.perf_counter() - began < _LONGEST:
        if stack.es.search(index=index, query=query, size=0)["hits"]["total"]["value"]:
            return time.perf_counter() - began
        time.sleep(0.02)
    raise SystemExit(f"no vector within {_LONGEST} s")


def row(name: str, lags: list[float]) -> dict[str, Any]:
    cuts = statistics.quantiles(lags, n=100)
    return {
        "while": name,
        "writes": len(lags),
        "p50 s": round(cuts[49], 2),
        "p95 s": round(cuts[94], 2),
        "p99 s": round(cuts[98], 2),
        "longest s": round(max(lags), 2),
    }


def main() -> None:
    with bench_stack() as stack:
        fresh_index(stack, "idle", texts(10))
        stack.attach("idle", "body")
        stack.wait("idle")
        idle = []
        for number in range(WRITES):
            idle.append(one_lag(stack, "idle", number))
            time.sleep(PAUSE_SECONDS * (number % 7) / 3)
        fresh_index(stack, "busy", texts(BACKFILL_DOCUMENTS))
        stack.attach("busy", "body")
        # Documents written before the feed has seen the attachment belong to the end of the backfill.
        while not stack.call("GET", "/_esblend/indices/busy/status")["embedded"]:
            time.sleep(0.2)
        busy: list[float] = []
        while len(busy) < WRITES:
            lag = one_lag(stack, "busy", len(busy))
            if not stack.call("GET", "/_esblend/indices/busy/status")["backfill"]["remaining"]:
                break
            busy.append(lag)
            time.sleep(PAUSE_SECONDS)
        rows = [row("idle", idle), row("a backfill runs", busy)]
    note = (
        "One write after another; refresh_interval 1 s, MiniLM exact, one worker, everything on one machine. "
        f"Backfill: {BACKFILL_DOCUMENTS} texts of 20 to 200 words. Printed by `python -m bench lag`."
    )
    write("lag", "From write to searchable vector", note, rows)
