"""Waits until the feed has made progress with an index: one small request at a time instead of a whole status."""

import asyncio
import time

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from indexer.feed.checkpoints import checkpoint_id
from mappings.attachment import read_attachment
from mappings.attachment_copies import CHECKPOINTS_INDEX

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.2, 1.0
_SHARE = 200
"""Pauses grow by one second for this many seconds of waiting."""
_ANYWAY_SECONDS = 5.0
"""The longest wait for a checkpoint: deletions and repairs of vectors do not move it."""
_PENDING_SECONDS = 3.0
"""As long, when the checkpoint moves and says that changes are pending: under steady writes it may always say so."""
_UNKNOWN_SECONDS = 1.0
"""The longest wait without a checkpoint: another application writes the vectors, or the caller may not read checkpoints."""


class Progress:
    """The position of an index in its checkpoint, which the feed saves when a task has ended."""

    def __init__(self, es: AsyncElasticsearch, name: str, *, until_done: bool = False) -> None:
        """`name`: an index or alias. The privileges of `es` decide whether checkpoints can be read. `until_done`: only an index
        without pending changes is of interest."""
        self._es = es
        self._name = name
        self._until_done = until_done
        self._has_pending = False
        """Whether changes are pending, as the checkpoint that was read last says."""
        self._checkpoint: str | None = None
        self._began = time.monotonic()

    async def version(self) -> int | None:
        """The version of the checkpoint; -1 when there is none yet, None when it cannot be read."""
        self._has_pending = False
        try:
            self._checkpoint = self._checkpoint or await self._find_checkpoint()
            if self._checkpoint is None:
                return None
            response = await self._es.mget(
                index=CHECKPOINTS_INDEX, ids=[self._checkpoint], source_includes=["pending_since"]
            )
        except (ApiError, TransportError):  # the status reports it if it matters
            return None
        item = response["docs"][0]
        self._has_pending = item.get("_source", {}).get("pending_since") is not None
        return None if "error" in item else int(item.get("_seq_no", -1))

    async def wait(self, seen: int | None, seconds: float) -> None:
        """Wait until the version differs from `seen`, at most `seconds`, and never longer than a few seconds. With `until_done`, a
        version with pending changes makes it wait further."""
        began = time.monotonic()
        longest = _UNKNOWN_SECONDS if seen is None or seen < 0 else _ANYWAY_SECONDS
        while (now := time.monotonic()) < (end := began + min(seconds, longest)):
            pause = min(_LONGEST_SECONDS, _SHORTEST_SECONDS + (now - self._began) / _SHARE)
            await asyncio.sleep(min(pause, end - now))
            if seen is not None and await self.version() != seen:
                if not (self._until_done and self._has_pending):
                    return
                longest = min(longest, _PENDING_SECONDS)

    async def _find_checkpoint(self) -> str | None:
        response = await self._es.indices.get(index=self._name, features=["mappings", "settings"])
        bodies = list(response.body.values())
        attachment = read_attachment(bodies[0]["mappings"]) if len(bodies) == 1 else None
        if attachment is None:
            return None
        return checkpoint_id(bodies[0]["settings"]["index"]["uuid"], attachment.active)
