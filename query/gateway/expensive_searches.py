"""Bounds the expensive searches in progress, so that they never take all processors from ordinary searches."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from esblend.errors import TooManyRequests
from query.language.tree import Search
from query.plan.cost import is_expensive

PATIENCE_SECONDS = 10.0
_WAITING_PER_PLACE = 8

_is_item: ContextVar[bool] = ContextVar("_is_item", default=False)


@contextmanager
def items_of_one_request() -> Iterator[None]:
    """Expensive searches that start inside wait as long as it takes, because they wait for each other. Their request bounds
    their number."""
    token = _is_item.set(True)
    try:
        yield
    finally:
        _is_item.reset(token)


class ExpensiveSearches:
    """Up to `most` at once; the others wait in the order of their arrival, up to eight for each that runs."""

    def __init__(self, most: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._most = most
        self._patience = patience_seconds
        self._places = asyncio.Semaphore(most)
        self._waiting = 0

    @asynccontextmanager
    async def turn(self, search: Search, parts: int) -> AsyncIterator[None]:
        """The turn of a search; at once unless it is expensive. `parts`: see `is_expensive`.

        Raises TooManyRequests if too many others wait, or if it waits too long.
        """
        if not is_expensive(search, parts):
            yield
            return
        if _is_item.get():
            await self._places.acquire()
        else:
            await self._acquire_soon()
        try:
            yield
        finally:
            self._places.release()

    async def _acquire_soon(self) -> None:
        if self._places.locked() and self._waiting >= _WAITING_PER_PLACE * self._most:
            raise self._refused(f"{self._waiting} others wait for their turn")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError as error:
            raise self._refused(f"this one waited {self._patience:g} s for its turn") from error
        finally:
            self._waiting -= 1

    def _refused(self, reason: str) -> TooManyRequests:
        return TooManyRequests(
            f"the limit of expensive searches ({self._most}) is reached, and {reason}; try again later, or ask for less: shorter"
            " texts, smaller windows, fewer aggregations"
        )
