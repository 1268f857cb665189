"""Decides which feed process follows which index: several may run, and one is active for each index.

Each process increments the counter in its heartbeat document every second, in a separate task and over a separate connection. A
checkpoint names its owner and is only written over the version that was read before (`if_seq_no`), so a process that lost an
index notices at its next save. If an owner's counter does not change for several looks, another process takes over its
checkpoints. Each process uses its own monotonic clock, so wall clocks of different machines are never compared. A process whose
heartbeat is late sends no tasks until the next heartbeat.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError

from indexer.feed.checkpoints import ensure_checkpoints_index
from mappings.attachment_copies import CHECKPOINTS_INDEX

log = structlog.get_logger()
BEAT_SECONDS = 1.0
LATE_AFTER_SECONDS = 3.0
DEAD_AFTER_SECONDS = 4.0
_DEAD_AFTER_LOOKS = 4
"""Number of looks. A slow Elasticsearch delays heartbeats and looks equally, so it makes no process look dead."""
_REQUEST_SECONDS = 10


@dataclass
class _Seen:
    """The last counter of another process, the time of its last change (monotonic), and the number of looks without a change."""

    counter: int
    since: float
    looks: int = 0


class Leases:
    """The heartbeat of this process, and its view of the others. Run `keep` as a task."""

    def __init__(self, es: AsyncElasticsearch) -> None:
        self._es = es.options(request_timeout=_REQUEST_SECONDS, max_retries=0)
        self.me = uuid.uuid4().hex
        self.watched: set[str] = set()
        """The owners of indices that this process does not follow."""
        self._dead: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._counter = 0
        self._beaten_at = float("-inf")

    @property
    def is_late(self) -> bool:
        """Whether other processes may have taken over what this process follows."""
        return time.monotonic() - self._beaten_at > LATE_AFTER_SECONDS

    @property
    def dead(self) -> set[str]:
        """The watched owners that stopped."""
        return self._dead & self.watched

    async def keep(self) -> None:
        """Send a heartbeat and look at the others, once a second, until cancelled."""
        while True:
            began = time.monotonic()
            try:
                await self.beat()
                await self.look()
            except (ApiError, TransportError) as error:
                log.warning("heartbeat failed", cause=type(error).__name__)
            await asyncio.sleep(max(0.0, began + BEAT_SECONDS - time.monotonic()))

    async def beat(self) -> None:
        began = time.monotonic()
        await ensure_checkpoints_index(self._es)
        self._counter += 1
        await self._es.index(
            index=CHECKPOINTS_INDEX, id=_heartbeat_id(self.me), document={"format": 1, "beat": self._counter}
        )
        self._beaten_at = began

    async def look(self) -> None:
        """Compare the counters of the watched processes with the counters of the previous check."""
        owners = sorted(self.watched - {self.me})
        if not owners:
            return
        response = await self._es.mget(index=CHECKPOINTS_INDEX, ids=[_heartbeat_id(owner) for owner in owners])
        now = time.monotonic()
        self._dead = {
            owner
            for owner, item in zip(owners, response["docs"], strict=True)
            if not self._is_alive(owner, item["_source"].get("beat") if item.get("found") else None, now)
        }

    def _is_alive(self, owner: str, counter: int | None, now: float) -> bool:
        if counter is None:
            return False  # it resigned, or another process removed it
        seen = self._seen.get(owner)
        if seen is None or seen.counter != counter:
            self._seen[owner] = _Seen(counter, now)
            return True
        seen.looks += 1
        return now - seen.since < DEAD_AFTER_SECONDS or seen.looks < _DEAD_AFTER_LOOKS

    async def remove(self, owners: set[str]) -> None:
        """Delete the heartbeats of dead processes."""
        for owner in owners:
            self._seen.pop(owner, None)
            try:
                await self._es.delete(index=CHECKPOINTS_INDEX, id=_heartbeat_id(owner))
            except NotFoundError:
                continue

    async def resign(self) -> None:
        """Leave: the other processes take over at once."""
        await self.remove({self.me})


def _heartbeat_id(owner: str) -> str:
    return f"feed-{owner}"
