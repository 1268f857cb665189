"""The checkpoint of an index that this process follows: saved when its content changes, over the version that was saved last.

few of many positions changed -> partial update with these positions
else                          -> the whole document
"""

import time
from typing import Any

from elasticsearch import AsyncElasticsearch

from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint, Version, save_checkpoint, save_positions

WHOLE_SHARDS = 100
"""A checkpoint of at most so many shards is always written as a whole: a partial update costs Elasticsearch more than it saves."""
PART = 4
"""A partial update is sent when at most 1 / PART of the positions changed."""


def pause_after_save(shards: int) -> float:
    """Seconds until the positions of so many shards are saved again while changes arrive."""
    return 1.0 if shards <= WHOLE_SHARDS else 3.0


class LeaseLostError(Exception):
    """Another feed process follows this index now."""


class SavedCheckpoint:
    """`checkpoint`: the present state, which may not be saved yet."""

    def __init__(self, es: AsyncElasticsearch, checkpoint: Checkpoint, version: Version | None) -> None:
        self.checkpoint = checkpoint
        self._es = es
        self._version = version
        self._saved: Checkpoint | None = None if version is None else checkpoint
        self._saved_at = float("-inf")

    @property
    def is_saved(self) -> bool:
        """Whether any content is saved, as far as this process knows."""
        return self._saved is not None

    def update(self, **changes: Any) -> None:
        self.checkpoint = self.checkpoint.model_copy(update=changes)

    def save_again(self) -> None:
        """Save with the next step, although nothing has changed: somebody deleted the document."""
        self._saved_at, self._saved = float("-inf"), None

    async def save_if_changed(self, *, at_once: bool) -> None:
        """Save new content: `at_once`, or after a pause since the last save. Raises LeaseLostError."""
        now = time.monotonic()
        if not at_once and now - self._saved_at < pause_after_save(len(self.checkpoint.shards)):
            return
        shards = self._changed_shards()
        if self._saved is None or shards or _state(self.checkpoint) != _state(self._saved):
            await self._save(self.checkpoint, shards)
            self._saved_at = now

    async def release(self, shards: dict[int, ShardCheckpoint]) -> None:
        """Save that no process follows this index. The next one continues at these positions: it reads the changes of unfinished
        tasks again, and the workers find nothing to do. Raises LeaseLostError."""
        released = self.checkpoint.model_copy(update={"owner": None, "shards": shards})
        await self._save(released, list(shards))

    def _changed_shards(self) -> list[int]:
        """The shards whose positions are not saved. Unchanged positions are mostly the same objects."""
        if self._saved is None:
            return list(self.checkpoint.shards)
        saved = self._saved.shards
        return [
            shard
            for shard, position in self.checkpoint.shards.items()
            if (stored := saved.get(shard)) is not position and stored != position
        ]

    async def _save(self, checkpoint: Checkpoint, shards: list[int]) -> None:
        """`shards`: those whose positions are not saved."""
        is_part = len(checkpoint.shards) > WHOLE_SHARDS and PART * len(shards) <= len(checkpoint.shards)
        owner, version = self.checkpoint.owner, self._version
        if is_part and version is not None and self._saved is not None:
            version = await save_positions(self._es, checkpoint, shards, version, owner=owner)
        else:
            version = await save_checkpoint(self._es, checkpoint, version, owner=owner)
        self._version = version
        if version is None:
            raise LeaseLostError(self.checkpoint.index)
        self._saved = checkpoint


def _state(checkpoint: Checkpoint) -> tuple[bool, str | None]:
    """The part of a checkpoint, apart from the positions, that is saved when it changes."""
    return checkpoint.pending_since is None, checkpoint.paused_because
