"""Where each part of a deployment ends: its load at 100 million to 10 billion passages, and the number of passages that fill it.

Nothing is measured here. The costs of feed and Elasticsearch come from `bench/results/ceiling`; other constants are assumptions.
"""

import math
from dataclasses import dataclass

from bench.report import write

TASK_SECONDS = 3.0
"""Work of one worker, in which the feed's tasks are sized."""
TASK_DOCUMENTS = 1000
"""The highest number of documents in a task."""
REQUESTS_OF_TASK = 2
"""A worker sends one search and one bulk request for a task (`docs/decisions/012-range-tasks.md`)."""
REQUESTS_OF_FEED = 8
"""A second, of each feed process without work: heartbeat, members, cluster state, dead letters, shard stats."""
REDIS_COMMANDS_OF_TASK = 20
"""Queue, announcement, result and report."""
REDIS_COMMANDS = 50_000
"""A second, of one Redis on one core: an assumption."""
CHECKPOINT_BYTES = 130
"""Of each shard in the checkpoint of its index, which the feed rewrites once a second during changes."""
INDEX_SHARDS = 1024
"""Elasticsearch creates no index with more (`index.max_number_of_shards`)."""


@dataclass(frozen=True)
class Load:
    """The load of one size. `changes`: passages a second at the peak, the backfill included."""

    passages: int
    changes: float
    workers: int
    shards: int
    embed_seconds: float
    """One worker's seconds for one passage."""
    feed_seconds: float
    """Core seconds of the feed for one passage."""
    index_seconds: float
    """Core seconds of Elasticsearch, worker and Redis for one passage, without its encoding."""

    @property
    def tasks(self) -> float:
        """Tasks a second: each takes a worker `TASK_SECONDS`, or has as many documents as a task may have."""
        return self.changes / min(TASK_DOCUMENTS, max(1.0, TASK_SECONDS / self.embed_seconds))


def write_ends(loads: list[Load]) -> None:
    """Write one row for each part. A part without an end grows by adding processes or nodes."""
    parts = [
        ("changes a second at the peak, with the backfill", [load.changes for load in loads], None, ""),
        ("feed, cores", [load.changes * load.feed_seconds for load in loads], 1.0,
         "one core for one index; several feeds divide the indices"),
        ("workers of 2 cores", [float(load.workers) for load in loads], None, "add workers"),
        ("pipeline without encoding, cores", [load.changes * load.index_seconds for load in loads], None, "add nodes"),
        ("tasks a second", [load.tasks for load in loads], None, ""),
        ("requests a second to Elasticsearch", [REQUESTS_OF_FEED + REQUESTS_OF_TASK * load.tasks for load in loads], None,
         "add nodes"),
        ("Redis, commands a second", [REDIS_COMMANDS_OF_TASK * load.tasks for load in loads], float(REDIS_COMMANDS),
         "one Redis; then RabbitMQ as the broker"),
        ("checkpoint of one index, kB a second", [CHECKPOINT_BYTES * load.shards / 1000 for load in loads], None,
         "divide the data among indices"),
        ("primary shards", [float(load.shards) for load in loads], float(INDEX_SHARDS),
         "one index; then several behind an alias"),
    ]  # fmt: skip
    rows = []
    for part, values, limit, remedy in parts:
        row: dict[str, object] = {"part": part}
        row |= {f"{load.passages:,}": _shown(value) for load, value in zip(loads, values, strict=True)}
        # The largest size, whose rounding matters least.
        row["ends at passages"] = "" if limit is None else f"{_two_digits(loads[-1].passages * limit / values[-1]):,}"
        rows.append(row | {"then": remedy})
    note = (
        f"768 dimensions, int8 encoder, all passages in one index; tasks of {TASK_SECONDS:g} s and at most {TASK_DOCUMENTS} "
        f"passages, {REDIS_COMMANDS_OF_TASK} commands of Redis a task, {REDIS_COMMANDS:,} a second. Computed by "
        "`python -m bench capacity`."
    )
    write("capacity-ends", "Where each part ends", note, rows)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _two_digits(value: float) -> int:
    unit = 10 ** (math.floor(math.log10(value)) - 1)
    return int(value // unit) * unit
