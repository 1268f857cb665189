"""Which feed process follows which index: several may run, one is active for each index.

Each process has a document with a beat that it raises every second. A checkpoint names its owner, and is only ever written
over the version that was read before (`if_seq_no`), so a process that lost an index notices at its next save.
An owner whose beat stands still is dead to the others, who then write themselves into its checkpoints. Only the standing
still is measured, each by its own monotonic clock: wall clocks of several machines are never compared.
"""

import time
import uuid

from elasticsearch import AsyncElasticsearch, NotFoundError

from mappings.attachment_copies import CHECKPOINTS_INDEX

BEAT_SECONDS = 1.0
DEAD_AFTER_SECONDS = 4.0


class Leases:
    """The beat of this process, and what it knows of the others'."""

    def __init__(self, es: AsyncElasticsearch) -> None:
        self._es = es
        self.me = uuid.uuid4().hex
        self._count = 0
        self._beaten = float("-inf")
        self._looked = float("-inf")
        self._dead: set[str] = set()
        self._seen: dict[str, tuple[int, float]] = {}

    async def beat(self) -> None:
        """Raise this process's beat when it is time."""
        if time.monotonic() - self._beaten < BEAT_SECONDS:
            return
        self._count += 1
        await self._es.index(index=CHECKPOINTS_INDEX, id=_beat_id(self.me), document={"format": 1, "beat": self._count})
        self._beaten = time.monotonic()

    async def dead(self, owners: set[str]) -> set[str]:
        """Those of `owners` that stopped, or whose beat has stood still for long."""
        others = sorted(owners - {self.me})
        if not others or time.monotonic() - self._looked < BEAT_SECONDS:
            return self._dead & owners
        self._looked = time.monotonic()
        answer = await self._es.mget(index=CHECKPOINTS_INDEX, ids=[_beat_id(owner) for owner in others])
        now = time.monotonic()
        dead: set[str] = set()
        for owner, found in zip(others, answer["docs"], strict=True):
            if not found.get("found"):
                dead.add(owner)
                continue
            beat = int(found["_source"]["beat"])
            if self._seen.get(owner, (None, 0.0))[0] != beat:
                self._seen[owner] = (beat, now)
            elif now - self._seen[owner][1] > DEAD_AFTER_SECONDS:
                dead.add(owner)
        self._dead = dead
        return dead

    async def bury(self, owners: set[str]) -> None:
        """Remove what dead processes left."""
        for owner in owners:
            self._seen.pop(owner, None)
            try:
                await self._es.delete(index=CHECKPOINTS_INDEX, id=_beat_id(owner))
            except NotFoundError:
                continue

    async def resign(self) -> None:
        """Leave at once: the others need not wait."""
        await self.bury({self.me})


def _beat_id(owner: str) -> str:
    return f"feed-{owner}"
