"""How far a feed has come in each shard of an index, as its checkpoint stores it."""

from collections.abc import Mapping

import structlog

from esblend.broker import Lane
from indexer.feed.checkpoints import ShardCheckpoint
from indexer.feed.cursor import Cursor
from indexer.feed.shard_changes import ShardState

log = structlog.get_logger()


class Positions:
    """Two cursors a shard: `live` follows the changes since the attachment, `backfill` reads the changes before it. Both are valid
    in one history of the shard."""

    def __init__(self, index: str, shards: Mapping[int, ShardCheckpoint]) -> None:
        self.cursors: dict[Lane, dict[int, Cursor]] = {"live": {}, "backfill": {}}
        self._index = index
        self._histories: dict[int, str | None] = {}
        self._present: dict[int, ShardCheckpoint] = {}
        """The last result of `of` for each shard: the same object while a position has not changed."""
        for shard, position in shards.items():
            self._open(shard, position)

    def begin(self, shard: int, state: ShardState) -> bool:
        """Start a shard that is new, or whose sequence numbers began a new history: after a restore from a snapshot or the
        allocation of a stale or empty primary, the position says nothing about the shard's documents. Returns whether it is one.

        The backfill reads the documents again; workers skip those whose vectors are current. Changes since the last commit of a
        new history may be live and do not wait for it.
        """
        known = self._histories.get(shard)
        if shard in self.cursors["live"] and (known is None or state.history in (None, known)):
            self._histories[shard] = known or state.history
            return False
        end = state.global_checkpoint
        if known is not None:
            log.warning("a shard has a new history; its documents are compared again", index=self._index, shard=shard)
            end = min(end, end if state.committed is None else state.committed)
        for cursors in self.cursors.values():
            cursors.pop(shard, None)
        self._open(shard, ShardCheckpoint(live=end, backfill=-1, backfill_end=end, history=state.history))
        return True

    def _open(self, shard: int, position: ShardCheckpoint) -> None:
        self._histories[shard] = position.history
        self.cursors["live"][shard] = Cursor(done=position.live)
        if position.backfill < position.backfill_end:
            self.cursors["backfill"][shard] = Cursor(done=position.backfill, end=position.backfill_end)

    def end_finished_backfills(self) -> None:
        backfill = self.cursors["backfill"]
        for shard in [shard for shard, cursor in backfill.items() if cursor.is_finished]:
            del backfill[shard]
            log.info("backfill done", index=self._index, shard=shard)

    def of(self, shard: int) -> ShardCheckpoint:
        """The position of one shard. Without a backfill, everything up to the live position is done."""
        live, backfill = self.cursors["live"][shard].done, self.cursors["backfill"].get(shard)
        begin, end = (live, live) if backfill is None or backfill.end is None else (backfill.done, backfill.end)
        history, present = self._histories.get(shard), self._present.get(shard)
        if present is None or (live, begin, end, history) != (
            present.live, present.backfill, present.backfill_end, present.history
        ):  # fmt: skip
            present = ShardCheckpoint(live=live, backfill=begin, backfill_end=end, history=history)
            self._present[shard] = present
        return present

    def all(self) -> dict[int, ShardCheckpoint]:
        """The position of each shard, for the checkpoint."""
        return {shard: self.of(shard) for shard in self.cursors["live"]}

    def pending(self, lane: Lane, ends: Mapping[int, int]) -> int:
        """Sequence numbers that are not done; about as many changes. `ends`: the last one of each shard."""
        return sum(
            max(0, (ends.get(shard, cursor.sent) if cursor.end is None else cursor.end) - cursor.done)
            for shard, cursor in self.cursors[lane].items()
        )
