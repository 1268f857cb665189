"""Deployment sizing: cost of a million passages from measured figures, sizes for 100 million to 10 billion, and a simulated
day. Nothing is measured here: the script reads what the other measurements wrote to bench/results, and computes.

The assumptions are the constants below; change them for your own deployment and run `python -m bench capacity`.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.capacity_ends import PORTION_SECONDS, Load, write_ends
from bench.report import RESULTS, write
from indexer.feed.task_size import TASK_SECONDS
from mappings.advice import bytes_of

PIECES = 130
"""Word pieces in a passage, as in `bench encode`."""
NODE_CACHE_GB = 32 * 0.8
"""Page cache of a node with 64 GB: half is heap (at most 31 GB, for compressed pointers), a fifth of the rest has other uses."""
COPIES = 2
SHARD_GB = 50
"""Elasticsearch's guidance for shard sizes is 10 to 50 GB."""
SHARD_PASSAGES = 100_000_000
"""Passages are Lucene documents. Elasticsearch advises against more than 200 million per shard; half of that leaves room for
deleted documents, which updates create until a merge."""
BACKFILL_DAYS = 30
CHANGED_A_DAY = 0.01
"""Share of the passages that change per day."""
PEAK = 3.0
"""Load of the busiest minute relative to the mean."""
WORKER_CORES = 2
POLL_SECONDS, REFRESH_SECONDS = 0.5, 1.0
MODELS = {"MiniLM": 384, "DistilBERT shape": 768}
SIZES = (10**8, 10**9, 10**10)


@dataclass(frozen=True)
class Costs:
    """Measured costs, in core seconds."""

    encode_piece: float
    """Encoding of one word piece."""
    rest: float
    """One document in feed, worker, Redis and Elasticsearch together, without encoding."""

    @property
    def passage(self) -> float:
        return PIECES * self.encode_piece + self.rest


def main() -> None:
    encode, ceiling = _rows("encode"), _rows("ceiling")
    threads = _read("encode")["machine"]["threads"]
    rest = (
        _read("ceiling")["machine"]["threads"]
        / next(r for r in ceiling if r["what"].startswith("esblend"))["documents/s"]
    )
    costs = {
        (model, precision): Costs(threads / _speed(encode, model, f"esblend openvino {precision}"), rest)
        for model in MODELS
        for precision in ("exact", "fast")
    }
    _cost_of_a_million(costs)
    _sizes(costs)
    _days(costs)
    at_rest = max((row for row in _rows("idle") if row["feed"] == "yes" and not row["busy"]), key=_attached)
    write_ends([_load(passages, costs["DistilBERT shape", "fast"]) for passages in SIZES], at_rest["requests/s"])


def _cost_of_a_million(costs: dict[tuple[str, str], Costs]) -> None:
    rows = []
    for (model, precision), cost in costs.items():
        for kind in ("int8_hnsw", "bbq_hnsw"):
            ram, disk = bytes_of(kind, MODELS[model])
            rows.append({
                "model": model, "precision": precision, "vectors": kind, "encoder CPU-hours": _hours(PIECES * cost.encode_piece),
                "other CPU-hours": _hours(cost.rest), "RAM GB": round(ram * 1e6 / 1e9, 2), "disk GB": round(disk * 1e6 / 1e9, 2),
            })  # fmt: skip
    write(
        "capacity-million", "Cost of a million passages",
        f"Passages of {PIECES} word pieces; RAM and disk of one copy, by Elasticsearch's formulas; CPU from the encode and ceiling "
        "measurements. Computed by `python -m bench capacity`.", rows,
    )  # fmt: skip


def _sizes(costs: dict[tuple[str, str], Costs]) -> None:
    """For the default model's shape, int8 encoder."""
    cost = costs["DistilBERT shape", "fast"]
    rows = []
    for passages in SIZES:
        for kind in ("int8_hnsw", "bbq_hnsw"):
            ram, disk = bytes_of(kind, MODELS["DistilBERT shape"])
            disk_gb = passages * disk / 1e9
            workers = workers_for(passages, cost)
            rows.append({
                "passages": f"{passages:,}", "vectors": kind,
                "primary shards": _shards(passages, disk_gb),
                "data nodes of 64 GB": math.ceil(passages * ram * COPIES / 1e9 / NODE_CACHE_GB),
                "disk TB, all copies": round(disk_gb * COPIES / 1000, 2), "workers of 2 cores": workers,
                "tasks in flight to allow": 2 * workers, "feed, cores": round(passages / BACKFILL_DAYS / 86400 * _feed_second(), 3),
            })  # fmt: skip
    write(
        "capacity-sizes", "Sizes",
        f"768 dimensions, int8 encoder on CPUs, {COPIES} copies; the backfill takes {BACKFILL_DAYS} days beside "
        f"{CHANGED_A_DAY:.0%} of changes a day. What vectors add to an index; its texts are there already. "
        "Computed by `python -m bench capacity`.", rows,
    )  # fmt: skip


def _shards(passages: int, disk_gb: float) -> int:
    return max(math.ceil(disk_gb / SHARD_GB), math.ceil(passages / SHARD_PASSAGES))


def _load(passages: int, cost: Costs) -> Load:
    """The load at the busiest minute of a day with a backfill."""
    _, disk = bytes_of("int8_hnsw", MODELS["DistilBERT shape"])
    return Load(
        passages=passages,
        changes=passages / BACKFILL_DAYS / 86400 + PEAK * passages * CHANGED_A_DAY / 86400,
        workers=workers_for(passages, cost),
        shards=_shards(passages, passages * disk / 1e9),
        embed_seconds=cost.passage / WORKER_CORES,
        feed_seconds=_feed_second(),
        index_seconds=cost.rest,
    )


def workers_for(passages: int, cost: Costs) -> int:
    """Enough workers to finish the backfill in time beside the mean load of live changes."""
    a_second = passages / BACKFILL_DAYS / 86400 + passages * CHANGED_A_DAY / 86400
    return math.ceil(a_second * cost.passage / WORKER_CORES)


def _days(costs: dict[tuple[str, str], Costs]) -> None:
    cost = costs["DistilBERT shape", "fast"]
    rows = []
    for passages in SIZES:
        planned = workers_for(passages, cost)
        live_only = math.ceil(passages * CHANGED_A_DAY / 86400 * cost.passage / WORKER_CORES)
        for what, workers, backfill in (
            ("backfill, workers as planned", planned, passages),
            ("after it, half again the mean load", math.ceil(1.5 * live_only), 0),
            ("after it, as many as the peak takes", math.ceil(PEAK * live_only), 0),
        ):
            rows.append(
                {
                    "passages": f"{passages:,}",
                    "what": what,
                    "workers": workers,
                    **simulate(passages, backfill, workers, cost),
                }
            )
    write(
        "capacity-day", "A simulated day",
        f"Minute by minute: {CHANGED_A_DAY:.0%} of the passages change, {PEAK:g} times the mean at the busiest minute; live "
        "changes go first. The lag is that of live changes, from write to searchable. Queue: the most that waits for a task, in "
        "Elasticsearch. Computed by `python -m bench capacity`.", rows,
    )  # fmt: skip


def simulate(passages: int, backfill: int, workers: int, cost: Costs) -> dict[str, Any]:
    """Simulates a day minute by minute. Live changes use the workers first, the backfill gets the rest."""
    minutes = np.arange(24 * 60)
    wave = 1 + (PEAK - 1) * np.maximum(0, np.sin(2 * np.pi * (minutes / 1440 - 0.25))) ** 2
    arriving = passages * CHANGED_A_DAY / 1440 * wave / wave.mean()
    capacity = workers * WORKER_CORES * 60 / cost.passage
    waiting, done, lags, longest = 0.0, 0.0, [], 0.0
    for came in arriving:
        waiting += came
        served = min(waiting, capacity)
        waiting -= served
        done += min(capacity - served, backfill - done)
        # A portion of the backfill, half of a live task in progress, then the task itself, then the tasks queued before it.
        lags.append(
            POLL_SECONDS
            + (PORTION_SECONDS if backfill else 0.0)
            + 1.5 * TASK_SECONDS * served / capacity
            + waiting / capacity * 60
            + REFRESH_SECONDS
        )
        longest = max(longest, waiting)
    return {
        "busy": f"{min(1.0, (arriving.sum() + done) / (capacity * 1440)):.0%}",
        "backfill done in days": round(backfill / done, 1) if backfill else "",
        "lag p50 s": round(float(np.percentile(lags, 50)), 1),
        "lag p95 s": round(float(np.percentile(lags, 95)), 1),
        "queue, passages": f"{longest:,.0f}",
    }  # fmt: skip


def _feed_second() -> float:
    """Core seconds of the feed for one change."""
    return float(next(row for row in _rows("ceiling") if row["what"].startswith("feed"))["figure"]) / 1e6


def _speed(rows: list[dict[str, Any]], model: str, contender: str) -> float:
    return float(next(row for row in rows if (row["model"], row["contender"]) == (model, contender))["word pieces/s"])


def _attached(row: dict[str, Any]) -> int:
    return int(row["attached indices"])


def _hours(core_seconds: float) -> float:
    """CPU-hours of a million."""
    return round(core_seconds * 1e6 / 3600, 2)


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _rows(name: str) -> list[dict[str, Any]]:
    return list(_read(name)["rows"])
