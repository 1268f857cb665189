"""Twice as many searches as the gateway can answer; then ordinary searches while other callers send hostile requests.

Under overload, most of the capacity goes to answers in time, the rest is refused with 429, and memory stays flat. Hostile requests
must not change the latency of ordinary searches. The whole takes about four minutes.
"""

import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import psutil

from bench.overhead import INDEX, prepare
from bench.report import write
from bench.stack import bench_stack, memory_megabytes
from tests.collections import find_collection, read_collection

DOCUMENTS = 1000
CALLERS, PAUSE, SECONDS = 4, 0.05, 8
HOSTILE_CALLERS, HOSTILE_PAUSE = 2, 0.1
LEAVES_AFTER = 0.01
CAPACITY_CALLERS, CAPACITY_SECONDS = 24, 15
OVERLOAD_SECONDS, PATIENCE = 60, 10.0
"""Callers under overload leave after `PATIENCE` seconds."""
_JSON = {"content-type": "application/json"}
_NDJSON = {"content-type": "application/x-ndjson"}
_LETTERS = str.maketrans("0123456789", "abcdefghij")


def hybrid(text: str, options: dict[str, Any] | None = None, **more: Any) -> bytes:
    return json.dumps({"query": {"hybrid": {"query": text, **(options or {})}}, **more}).encode()


@dataclass(frozen=True)
class Hostile:
    """A kind of hostile request."""

    body: Callable[[int], bytes]
    """Of the request with this number. Texts differ, so that no cache has their vectors."""
    target: str = f"/{INDEX}/_search"
    headers: dict[str, str] = field(default_factory=lambda: _JSON)
    leaves_after: float = 60
    """Seconds."""


def hostile_requests(texts: list[str]) -> dict[str, Hostile]:
    """By kind."""
    stars = "filter_path=" + "*a" * 40 + "*b"
    key = {"size": 1, "aggs": {"a" * 2000: {"terms": {"field": "_index"}}}}
    deep = b'{"query":' + b'{"bool":{"must":' * 5000 + hybrid("x")[9:-1] + b"}}" * 5000 + b"}"
    inside: Any = {"hybrid": {"query": "x"}}
    for _ in range(15):
        inside = {"bool": {"must": [inside, {"match": {"title": "x"}}]}}
    levels: Any = {"max": {"field": "x"}}
    for _ in range(400):
        levels = {"filter": {"match_all": {}}, "aggs": {"a": levels}}
    words = " ".join(f"word{number:05}" for number in range(9900))
    wildcards = ["*a" * 400 + f"*{number}" for number in range(100)]

    many = b"".join(b"{}\n" + hybrid(f"{texts[n % len(texts)]} {n} NUMBER") + b"\n" for n in range(1000))

    def searches(number: int) -> bytes:
        return many.replace(b"NUMBER", b"%d" % number)

    return {
        "filter_path of 41 stars": Hostile(lambda n: hybrid(f"cells {n}", **key), f"/{INDEX}/_search?{stars}"),
        "10,000 levels of nesting": Hostile(lambda _: deep),
        "800 levels of aggregations": Hostile(lambda n: hybrid(f"cells {n}", aggs={"a": levels})),
        "a hybrid in 15 bool queries": Hostile(lambda _: json.dumps({"query": inside}).encode()),
        "100 fields of 400 stars": Hostile(lambda n: hybrid(f"cells {n}", {"fields": wildcards})),
        "9,900 distinct words": Hostile(lambda n: hybrid(f"{words} {n}")),
        "one word of 100,000 letters": Hostile(lambda n: hybrid(f"{n:06}".translate(_LETTERS) + "x" * 99_994)),
        "windows and a page of 10,000": Hostile(
            lambda n: hybrid(f"cells {n}", {"rank_window_size": 10_000}, size=10_000)
        ),
        "1,000 searches": Hostile(searches, f"/{INDEX}/_msearch", _NDJSON),
        "leaves a search": Hostile(lambda n: hybrid(f"{texts[0]} {n}"), leaves_after=LEAVES_AFTER),
        "leaves 1,000 searches": Hostile(searches, f"/{INDEX}/_msearch", _NDJSON, LEAVES_AFTER),
    }


async def ordinary(session: aiohttp.ClientSession, base: str, texts: Iterator[str], until: float) -> list[float]:
    """Milliseconds of each search. Raises on an error."""
    took = []
    while time.perf_counter() < until:
        began = time.perf_counter()
        async with session.post(f"{base}/{INDEX}/_search", data=hybrid(next(texts)), headers=_JSON) as response:
            assert response.status == 200, await response.text()
            await response.read()
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PAUSE)
    return took


async def hostile(base: str, kind: Hostile, numbers: Iterator[int], until: float) -> int:
    """Sends requests of one kind, one after the other; how many."""
    sent = 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=kind.leaves_after)) as session:
        while time.perf_counter() < until:
            body = kind.body(next(numbers))
            with contextlib.suppress(TimeoutError, aiohttp.ClientConnectionError):
                async with session.post(base + kind.target, data=body, headers=kind.headers) as response:
                    assert response.status < 500, await response.text()
                    await response.read()
            sent += 1
            await asyncio.sleep(HOSTILE_PAUSE)
    return sent


async def capacity(session: aiohttp.ClientSession, base: str, texts: Iterator[str]) -> float:
    """Searches a second when a fixed number of callers send one after the other."""
    until = time.perf_counter() + CAPACITY_SECONDS
    answered = 0

    async def caller() -> None:
        nonlocal answered
        while time.perf_counter() < until:
            status = await one_search(session, base, next(texts))
            answered += status == 200

    await asyncio.gather(*(caller() for _ in range(CAPACITY_CALLERS)))
    return answered / CAPACITY_SECONDS


async def one_search(session: aiohttp.ClientSession, base: str, text: str) -> int:
    """The status; 0 if the caller has lost patience."""
    try:
        async with session.post(f"{base}/{INDEX}/_search", data=hybrid(text), headers=_JSON) as response:
            await response.read()
            return response.status
    except TimeoutError:
        return 0


async def overload(base: str, gateway: psutil.Process, texts: list[str]) -> list[dict[str, Any]]:
    """Searches arrive at twice the capacity, whether earlier ones were answered or not. No text repeats."""
    numbers = itertools.count()
    supply = (f"{text} {next(numbers)}" for text in itertools.cycle(texts))
    timeout, connector = aiohttp.ClientTimeout(total=PATIENCE), aiohttp.TCPConnector(limit=0)
    statuses: Counter[int] = Counter()
    took: list[float] = []
    memory: list[float] = []
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await capacity(session, base, supply)  # warms up
        most = await capacity(session, base, supply)
        began = time.perf_counter()

        async def search(text: str) -> None:
            sent = time.perf_counter()
            status = await one_search(session, base, text)
            statuses[status] += 1
            if status == 200:
                took.append((time.perf_counter() - sent) * 1000)

        async with asyncio.TaskGroup() as tasks:
            sent = 0
            while (passed := time.perf_counter() - began) < OVERLOAD_SECONDS:
                while sent < passed * most * 2:
                    tasks.create_task(search(next(supply)))
                    sent += 1
                if len(memory) < passed:
                    memory.append(memory_megabytes(gateway))
                await asyncio.sleep(0.005)
        seconds = time.perf_counter() - began
    third = len(memory) // 3
    return [{
        "capacity, searches/s": round(most), "sent/s": round(sum(statuses.values()) / OVERLOAD_SECONDS),
        "answered/s": round(statuses[200] / seconds), "goodput to capacity": round(statuses[200] / seconds / most, 2),
        "429": statuses[429], "callers without patience": statuses[0],
        "other answers": sum(statuses.values()) - statuses[200] - statuses[429] - statuses[0],
        "p50 ms": round(statistics.median(took)), "p99 ms": round(statistics.quantiles(took, n=100)[98]),
        "memory MB, first third": round(statistics.median(memory[:third])), "last third": round(statistics.median(memory[-third:])),
    }]  # fmt: skip


async def measure(base: str, texts: list[str]) -> list[dict[str, Any]]:
    rows = []
    turns, numbers = itertools.cycle(texts), itertools.count()
    by_kind = hostile_requests(texts)
    kinds: dict[str, list[Hostile]] = {
        "warm-up": [], "none": [], **{name: [kind] * HOSTILE_CALLERS for name, kind in by_kind.items()},
        "one caller of each kind": list(by_kind.values()), "none, again": [],
    }  # fmt: skip
    async with aiohttp.ClientSession() as session:
        for name, callers in kinds.items():
            until = time.perf_counter() + SECONDS
            others = [hostile(base, kind, numbers, until) for kind in callers]
            results = await asyncio.gather(*(ordinary(session, base, turns, until) for _ in range(CALLERS)), *others)
            took = sorted(value for result in results[:CALLERS] if isinstance(result, list) for value in result)
            sent = sum(result for result in results[CALLERS:] if isinstance(result, int))
            if name != "warm-up":
                rows.append({
                    "hostile requests": name, "sent": sent, "ordinary searches": len(took),
                    "p50 ms": round(statistics.median(took), 1),
                    "p99 ms": round(statistics.quantiles(took, n=100)[98], 1), "highest ms": round(took[-1], 1),
                })  # fmt: skip
    return rows


def main() -> None:
    folder = find_collection("scifact")
    if folder is None:
        sys.exit("the load test searches scifact: name a folder that holds it with ESBLEND_TEST_DATA")
    collection = read_collection(folder)
    with bench_stack() as stack:
        prepare(stack, replace(collection, documents=collection.documents[:DOCUMENTS]))
        base, texts = stack.described["gateway"], list(collection.queries.values())
        [gateway] = stack.processes("gateway")
        overloaded = asyncio.run(overload(base, gateway, texts))
        rows = asyncio.run(measure(base, texts))
    note = (
        f"{DOCUMENTS} documents of scifact, `hybrid`. Capacity: {CAPACITY_CALLERS} callers, one search after the other. Then twice "
        f"as many searches arrive for {OVERLOAD_SECONDS} s; no text repeats; callers leave after {PATIENCE:.0f} s. Client, gateway "
        "and Elasticsearch share the machine. Printed by `python -m bench load`."
    )
    write("overload", "Twice the capacity", note, overloaded)
    note = (
        f"{DOCUMENTS} documents of scifact; {CALLERS} callers search with `hybrid`, with {PAUSE * 1000:.0f} ms between searches, "
        f"for {SECONDS} s beside {HOSTILE_CALLERS} callers of one kind of hostile requests with {HOSTILE_PAUSE * 1000:.0f} ms "
        "between them. Client, gateway and Elasticsearch share the machine. Printed by `python -m bench load`."
    )
    write("hostile", "Ordinary searches beside hostile requests", note, rows)
