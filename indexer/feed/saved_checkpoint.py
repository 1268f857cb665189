"""The checkpoint of an index that this process follows: saved when its content changes, over the version that was saved last."""

import time
from typing import Any

from elasticsearch import AsyncElasticsearch

from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint, Version, save_checkpoint

_SAVE_SECONDS = 1.0


class LeaseLostError(Exception):
    """Another feed process follows this index now."""


class SavedCheckpoint:
    """`checkpoint`: the present state, which may not be saved yet."""

    def __init__(self, es: AsyncElasticsearch, checkpoint: Checkpoint, version: Version | None) -> None:
        self.checkpoint = checkpoint
        self._es = es
        self._version = version
        self._content = "" if version is None else _content(checkpoint)
        self._saved_at = float("-inf")

    @property
    def is_saved(self) -> bool:
        """Whether any content is saved, as far as this process knows."""
        return bool(self._content)

    def update(self, **changes: Any) -> None:
        self.checkpoint = self.checkpoint.model_copy(update=changes)

    def save_again(self) -> None:
        """Save with the next step, although nothing has changed: somebody deleted the document."""
        self._saved_at, self._content = float("-inf"), ""

    async def save_if_changed(self, *, at_once: bool) -> None:
        """Save new content: `at_once`, or once a second. Raises LeaseLostError."""
        content = _content(self.checkpoint)
        now = time.monotonic()
        if content != self._content and (at_once or now - self._saved_at >= _SAVE_SECONDS):
            await self._save(self.checkpoint)
            self._saved_at, self._content = now, content

    async def release(self, shards: dict[int, ShardCheckpoint]) -> None:
        """Save that no process follows this index. The next one continues at these positions: it reads the changes of unfinished
        tasks again, and the workers find nothing to do. Raises LeaseLostError."""
        await self._save(self.checkpoint.model_copy(update={"owner": None, "shards": shards}))

    async def _save(self, checkpoint: Checkpoint) -> None:
        self._version = await save_checkpoint(self._es, checkpoint, self._version, owner=self.checkpoint.owner)
        if self._version is None:
            raise LeaseLostError(self.checkpoint.index)


def _content(checkpoint: Checkpoint) -> str:
    """The part of a checkpoint that is saved when it changes."""
    return str((checkpoint.shards, checkpoint.pending_since is None, checkpoint.paused_because))
