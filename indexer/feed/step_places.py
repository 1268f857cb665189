"""Limits the steps that run at the same time, so that slow ones do not hold the others up.

step -> waits for a place -> runs -> leaves the place at its end, or when it has taken two seconds
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_PLACES = 16
SLOW_SECONDS = 2.0
"""A step that takes longer waits for Elasticsearch, as in the refresh of a shard on a node that does not answer."""
CONNECTIONS = 200
"""To each node of Elasticsearch: a slow step keeps one busy."""


class StepPlaces:
    """Places for the steps of one feed process."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_PLACES)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Take a place, as soon as one is free."""
        await self._free.acquire()
        place = _Place(self._free)
        timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, place.leave)
        try:
            yield
        finally:
            timer.cancel()
            place.leave()


@dataclass
class _Place:
    free: asyncio.Semaphore
    is_taken: bool = True

    def leave(self) -> None:
        if self.is_taken:
            self.is_taken = False
            self.free.release()
