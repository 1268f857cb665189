"""The positions of an index's cursors, as its checkpoint stores them."""

from collections.abc import Mapping

from indexer.feed.checkpoints import ShardCheckpoint
from indexer.feed.cursor import Cursor


def position_of(live: Cursor, backfill: Cursor | None, history: str | None) -> ShardCheckpoint:
    """The position of one shard. Without a backfill, everything up to the live position is done."""
    if backfill is None or backfill.end is None:
        return ShardCheckpoint(live=live.done, backfill=live.done, backfill_end=live.done, history=history)
    return ShardCheckpoint(live=live.done, backfill=backfill.done, backfill_end=backfill.end, history=history)


def pending(cursors: Mapping[int, Cursor], ends: Mapping[int, int]) -> int:
    """Sequence numbers that are not done; about as many changes. `ends`: the last one of each shard."""
    return sum(
        max(0, (ends.get(shard, cursor.sent) if cursor.end is None else cursor.end) - cursor.done)
        for shard, cursor in cursors.items()
    )
