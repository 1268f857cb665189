"""The cost of saving a checkpoint: the whole document, and a partial update with the positions that changed."""

import asyncio
import time
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

SHARDS = (16, 100, 500, 1000)
CHANGED = (0.02, 0.1, 0.25, 1.0)
"""Part of the shards whose positions change between two saves."""
SAVES = 300
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
    """Whether each save writes the whole document, as it does for indices with few shards."""
    before = saved_checkpoint.WHOLE_SHARDS, saved_checkpoint.PART
    saved_checkpoint.WHOLE_SHARDS, saved_checkpoint.PART = (10_000, 1) if is_whole else (0, 1)
    yield
    saved_checkpoint.WHOLE_SHARDS, saved_checkpoint.PART = before


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
    index = f"checkpoint-{shards}-{changed}-{is_whole}"
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


def row(shards: int, changed: int, name: str, before: Costs, after: Costs) -> dict[str, Any]:
    return {
        "shards": shards,
        "changed": changed,
        "written": name,
        "feed CPU ms": round((after.feed - before.feed) * 1000 / SAVES, 2),
        "Elasticsearch CPU ms": round((after.elasticsearch - before.elasticsearch) * 1000 / SAVES, 2),
        "kB sent": round((after.sent - before.sent) / SAVES / 1000, 2),
    }


def main() -> None:
    rows = []
    with bench_stack() as stack:
        for name in ("feed", "worker"):
            stack.stop(name)
        for shards in SHARDS:
            for changed in dict.fromkeys(max(1, round(part * shards)) for part in CHANGED):
                for name, is_whole in (("whole", True), ("changed positions", False)):
                    before, after = asyncio.run(measure(stack, shards, changed, is_whole=is_whole))
                    rows.append(row(shards, changed, name, before, after))
    note = (
        f"Mean of {SAVES} saves, one after the other; a feed saves a checkpoint at most once a second while changes arrive. "
        f"A feed sends the changed positions of an index with more than {saved_checkpoint.WHOLE_SHARDS} shards while at most "
        f"1 in {saved_checkpoint.PART} changed, and else the whole document. Printed by `python -m bench checkpoints`."
    )
    write("checkpoints", "Saving a checkpoint", note, rows)
