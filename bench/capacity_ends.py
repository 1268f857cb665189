"""Where each part of a deployment ends: its load at 100 million to 10 billion passages, and the number of passages that fill it.

Nothing is measured here. The costs of feed and Elasticsearch come from `bench/results/ceiling`, the requests of a feed at rest from
`bench/results/idle`, the sizes of tasks and pages from the code; other constants are assumptions.
"""

import math
from dataclasses import dataclass

from bench.report import write
from esblend.broker import MAX_RANGE_DOCUMENTS
from indexer.feed.saved_checkpoint import PART, WHOLE_SHARDS, pause_after_save
from indexer.feed.task_size import TASK_SECONDS
from workers.embed import page_size

REQUESTS_OF_TASK = 2
"""Of a worker: for the mapping, and for dead letters."""
PORTION_SECONDS = 0.2
"""Of work that a worker writes with one bulk request while live changes arrive. A live change waits for it."""
REQUESTS_OF_INDEX = 5
"""A second, of a feed: shard stats and a refresh twice, and the checkpoint."""
REDIS_COMMANDS_OF_TASK = 20
"""Queue, announcement, result and report."""
REDIS_COMMANDS = 50_000
"""A second, of one Redis on one core: an assumption."""
CHECKPOINT_BYTES = 105
"""Of each position in a checkpoint (`python -m bench checkpoints`)."""
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
        return self.changes / self._documents_of_task

    @property
    def _documents_of_task(self) -> float:
        return min(MAX_RANGE_DOCUMENTS, max(1.0, TASK_SECONDS / self.embed_seconds))

    @property
    def requests(self) -> float:
        """Requests a second to Elasticsearch, of the workers."""
        documents = self._documents_of_task
        pages = math.ceil(documents / page_size(round(documents)))  # each is one search
        portions = math.ceil(documents * self.embed_seconds / PORTION_SECONDS)
        return self.tasks * (REQUESTS_OF_TASK + pages + max(pages, portions))

    @property
    def positions(self) -> float:
        """Positions a second that the feed sends for the checkpoint. A task moves one."""
        pause = pause_after_save(self.shards)
        moved = pause * self.tasks
        is_whole = self.shards <= WHOLE_SHARDS or PART * moved > self.shards
        return (self.shards if is_whole else moved) / pause


def write_ends(loads: list[Load], requests_at_rest: float) -> None:
    """Write one row for each part. A part without an end grows by adding processes or nodes. `requests_at_rest`: a second, of a
    feed."""
    parts = [
        ("changes a second at the peak, with the backfill", [load.changes for load in loads], None, ""),
        ("feed, cores", [load.changes * load.feed_seconds for load in loads], 1.0,
         "one core for one index; several feeds divide the indices"),
        ("workers of 2 cores", [float(load.workers) for load in loads], None, "add workers"),
        ("pipeline without encoding, cores", [load.changes * load.index_seconds for load in loads], None, "add nodes"),
        ("tasks a second", [load.tasks for load in loads], None, ""),
        ("requests a second to Elasticsearch", [requests_at_rest + REQUESTS_OF_INDEX + load.requests for load in loads], None,
         "add nodes"),
        ("Redis, commands a second", [REDIS_COMMANDS_OF_TASK * load.tasks for load in loads], float(REDIS_COMMANDS),
         "one Redis; then RabbitMQ as the broker"),
        ("checkpoint of one index, kB a second", [CHECKPOINT_BYTES * load.positions / 1000 for load in loads], None, ""),
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
        f"768 dimensions, int8 encoder, all passages in one index; tasks of {TASK_SECONDS:g} s and at most {MAX_RANGE_DOCUMENTS} "
        f"passages, {REDIS_COMMANDS_OF_TASK} commands of Redis a task, {REDIS_COMMANDS:,} a second. Computed by "
        "`python -m bench capacity`."
    )
    write("capacity-ends", "Where each part ends", note, rows)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _two_digits(value: float) -> int:
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return int(value // unit * unit)
