"""How many searches of one request may run at once: many while it is alone, one beside the searches of other callers.

An `_msearch` then has the share of a caller who sends one search after the other, whatever number of searches it holds.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

_ALONE_AFTER = 1.0
"""Seconds since the last other request. Callers who send one search after the other pause between them."""


class FairShare:
    """The requests in progress whose searches the gateway itself answers. Those that it only forwards do not count."""

    def __init__(self) -> None:
        self._running = 0
        self._accompanied_at = float("-inf")

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts one request until it is answered."""
        self._running += 1
        try:
            yield
        finally:
            if self._running > 1:
                self._accompanied_at = time.monotonic()
            self._running -= 1

    def at_once(self, most: int) -> int:
        """How many searches a request in progress may run at once: `most` while it is alone, else 1."""
        is_alone = self._running <= 1 and time.monotonic() - self._accompanied_at > _ALONE_AFTER
        return most if is_alone else 1
