"""The cost of saving the positions of an index with many shards: as a whole each second, and as the feed saves them."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch

from bench.idle import cpu_seconds
from bench.report import write
from bench.stack import BenchStack, bench_stack
from esblend.elasticsearch_connection import connect_async
from indexer.feed import saved_checkpoint
from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint
from indexer.feed.positions import Positions
from indexer.feed.saved_checkpoint import SavedCheckpoint

SHARDS = (500, 1000)
CHANGED = (10, 50, 1000)
"""Positions that change in a second; at most those of all shards."""
SAVES = 150
_HISTORY = "Qh2Lr4vbTRGx1zN5nq0h0A"


@dataclass(frozen=True)
class Costs:
    """So far: CPU seconds of this process and of Elasticsearch, and bytes of its requests."""

    feed: float
    elasticsearch: float
    sent: int

    @classmethod
    def of(cls, stack: BenchStack) -> "Costs":
        nodes = stack.es.nodes.stats(metric="http")["nodes"].values()
        routes = [route for node in nodes for route in node["http"].get("routes", {}).values()]
        sent = sum(route["requests"]["total_size_in_bytes"] for route in routes)
        return cls(time.process_time(), cpu_seconds(stack.processes("elasticsearch")), sent)


@contextmanager
def whole_documents(is_whole: bool) -> Iterator[None]:
    """With `is_whole`, each save writes the whole document."""
    before = saved_checkpoint.WHOLE_SHARDS
    saved_checkpoint.WHOLE_SHARDS = max(SHARDS) if is_whole else before
    yield
    saved_checkpoint.WHOLE_SHARDS = before


async def save_repeatedly(es: AsyncElasticsearch, positions: Positions, saved: SavedCheckpoint, changed: int) -> None:
    cursors = positions.cursors["live"]
    first = 0
    for _ in range(SAVES):
        for offset in range(changed):
            cursor = cursors[(first + offset) % len(cursors)]
            cursor.send(cursor.sent + 1000)
        first += changed
        saved.update(shards=positions.all())
        await saved.save_if_changed(at_once=True)


async def measure(stack: BenchStack, shards: int, changed: int, *, is_whole: bool) -> tuple[Costs, Costs]:
    """The costs before and after the saves."""
    index = f"checkpoint-{uuid.uuid4()}"
    start = ShardCheckpoint(live=10**9, backfill=10**8, backfill_end=10**9, history=_HISTORY)
    positions = Positions(index, dict.fromkeys(range(shards), start))
    checkpoint = Checkpoint(index=index, uuid=index, generation="g1", owner="bench", shards=positions.all())
    async with connect_async(stack.settings()) as es:
        saved = SavedCheckpoint(es, checkpoint, None)
        await saved.save_if_changed(at_once=True)
        with whole_documents(is_whole):
            await save_repeatedly(es, positions, saved, changed)
            before = Costs.of(stack)
            await save_repeatedly(es, positions, saved, changed)
            return before, Costs.of(stack)


def row(shards: int, changed: int, name: str, seconds: float, costs: tuple[Costs, Costs]) -> dict[str, Any]:
    """Costs a second, with a save after each so many `seconds`."""
    before, after = costs
    duration = SAVES * seconds
    return {
        "shards": shards,
        "changed a second": changed,
        "saved": name,
        "feed CPU ms/s": round((after.feed - before.feed) * 1000 / duration, 2),
        "Elasticsearch CPU ms/s": round((after.elasticsearch - before.elasticsearch) * 1000 / duration, 2),
        "kB/s": round((after.sent - before.sent) / duration / 1000, 2),
    }


def rows_of(stack: BenchStack, shards: int, changed: int) -> list[dict[str, Any]]:
    pause = saved_checkpoint.pause_after_save(shards)
    later = min(shards, round(pause * changed))
    whole = asyncio.run(measure(stack, shards, changed, is_whole=True))
    changes = asyncio.run(measure(stack, shards, later, is_whole=False))
    return [
        row(shards, changed, "whole, each second", 1.0, whole),
        row(shards, changed, f"as the feed does, after {pause:g} s", pause, changes),
    ]


def main() -> None:
    rows = []
    with bench_stack() as stack:
        for name in ("feed", "worker"):
            stack.stop(name)
        rows_of(stack, max(SHARDS), max(CHANGED))  # warm-up: a fresh JVM compiles its code first
        for shards in SHARDS:
            for changed in dict.fromkeys(min(shards, number) for number in CHANGED):
                rows += rows_of(stack, shards, changed)
    note = (
        f"Computed from {SAVES} saves in a row. The feed writes a checkpoint of at most {saved_checkpoint.WHOLE_SHARDS} "
        f"shards as a whole, and else the changed positions, if they are at most 1 in {saved_checkpoint.PART}. All changes are "
        "saved at once when none is left. Printed by `python -m bench checkpoints`."
    )
    write("checkpoints", "Saving a checkpoint", note, rows)
