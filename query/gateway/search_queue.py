"""Refuses searches that would wait too long, so that the searches of callers who still wait are answered in time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from esblend.errors import TooManyRequests

_ALWAYS = 32
"""Searches that may run at once, however long they take. The rate of so few says little about the next one."""
_NEWEST = 0.05
"""Weight of the newest value in moving averages."""


class SearchQueue:
    """The searches in progress.

    By Little's law, a new search takes about their number times the seconds between two responses. Its waiting time is this value
    minus the time of a search with few others beside it.
    """

    def __init__(self, budget_seconds: float) -> None:
        self._budget = budget_seconds
        self._running = 0
        self._seconds_between = 0.0
        self._seconds_alone = 0.0
        """The duration of a search that began while few others ran."""
        self._answered_at: float | None = None
        """None if the queue was short since: the time to the next answer then says nothing about the highest rate."""

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one search. Raises TooManyRequests if it would wait longer than the budget."""
        is_accompanied = self._running >= _ALWAYS
        waiting = self._running * self._seconds_between - self._seconds_alone
        if is_accompanied and waiting > self._budget:
            raise TooManyRequests(
                f"{self._running} searches are in progress, and a new one would wait about {waiting:.1f} s; try again later"
            )
        self._running += 1
        began = time.monotonic()
        try:
            yield
            if not is_accompanied:
                self._seconds_alone += _NEWEST * (time.monotonic() - began - self._seconds_alone)
            self._answered()
        finally:
            self._running -= 1
            if self._running < _ALWAYS:
                self._answered_at = None

    def _answered(self) -> None:
        now = time.monotonic()
        if self._running >= _ALWAYS and self._answered_at is not None:
            self._seconds_between += _NEWEST * (now - self._answered_at - self._seconds_between)
        self._answered_at = now
