"""Bounds the expensive searches in progress, so that they never take all processors from ordinary searches."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from esblend.errors import TooManyRequests
from query.language.tree import Search
from query.plan.cost import is_expensive

PATIENCE_SECONDS = 10.0


class ExpensiveSearches:
    """Up to `most` at once; the others wait in the order of their arrival."""

    def __init__(self, most: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._most = most
        self._patience = patience_seconds
        self._places = asyncio.Semaphore(most)

    @asynccontextmanager
    async def turn(self, search: Search, parts: int) -> AsyncIterator[None]:
        """The turn of a search; at once unless it is expensive. Raises TooManyRequests if it waits too long."""
        if not is_expensive(search, parts):
            yield
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError as error:
            raise TooManyRequests(
                f"{self._most} searches with long texts, large windows or many aggregations are in progress, and this one waited"
                f" {self._patience:g} s for its turn; try again later, or ask for less"
            ) from error
        try:
            yield
        finally:
            self._places.release()
