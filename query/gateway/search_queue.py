"""Refuses searches that would wait too long, so that the searches of callers who still wait are answered in time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from esblend.errors import TooManyRequests

_ALWAYS = 32
"""Searches that may run at once, however long they take. The rate of so few says little about the next one."""
_NEWEST = 0.05
"""Weight of the newest interval in the moving average of seconds between two answers."""


class SearchQueue:
    """The searches in progress. By Little's law a new search waits for about their number times the seconds between two answers."""

    def __init__(self, budget_seconds: float) -> None:
        self._budget = budget_seconds
        self._running = 0
        self._seconds_between = 0.0
        self._answered_at: float | None = None
        """None if the queue was short since: the time to the next answer then says nothing about the highest rate."""

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one search. Raises TooManyRequests if it would wait longer than the budget."""
        expected = self._running * self._seconds_between
        if self._running >= _ALWAYS and expected > self._budget:
            raise TooManyRequests(
                f"{self._running} searches are in progress, about {expected:.1f} s of work; try again later"
            )
        self._running += 1
        try:
            yield
            self._answered()
        finally:
            self._running -= 1

    def _answered(self) -> None:
        now = time.monotonic()
        is_long = self._running >= _ALWAYS
        if is_long and self._answered_at is not None:
            self._seconds_between += _NEWEST * (now - self._answered_at - self._seconds_between)
        self._answered_at = now if is_long else None
