"""Limits the steps that run at the same time, so that slow ones do not hold the others up.

step -> waits for a place -> runs -> leaves the place at its end, or when it has taken two seconds and few others are as slow
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PLACES = 16
SLOW_SECONDS = 2.0
"""A step that takes longer waits for Elasticsearch, as in the refresh of a shard on a node that does not answer."""
CONNECTIONS = 200
"""To each node of Elasticsearch: a slow step keeps one busy."""
MOST_SLOW = 150
"""Slow steps without a place. With more, the feed's other requests would wait for a connection."""


class StepPlaces:
    """Places for the steps of one feed process."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(_PLACES)
        self.slow = 0
        """The number of running steps that have left their place."""

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Take a place, as soon as one is free."""
        await self.free.acquire()
        place = _Place(self)
        try:
            yield
        finally:
            place.end()


class _Place:
    """The place of one step."""

    def __init__(self, places: StepPlaces) -> None:
        self._places = places
        self._is_slow = False
        self._wait()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._leave_if_few_are_slow)

    def _leave_if_few_are_slow(self) -> None:
        if self._places.slow >= MOST_SLOW:
            self._wait()
            return
        self._is_slow = True
        self._places.slow += 1
        self._places.free.release()

    def end(self) -> None:
        self._timer.cancel()
        if self._is_slow:
            self._places.slow -= 1
        else:
            self._places.free.release()
