"""How large a task is made, and how fast a backfill may go."""

import time
from dataclasses import dataclass, field

TASK_SECONDS = 3.0
"""What one task should take: short enough for live changes to slip in between, long enough that reading, encoding and writing
of its portions go on side by side."""
_SMALLEST = 16
_FIRST = 32
_SHARE_OF_NEWEST = 0.3


@dataclass
class Pace:
    """Documents in a task, so that it takes a few seconds whatever the documents' lengths and the model."""

    most: int
    _per_second: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether a task told how fast the workers are; before, many small ones in the queue would do no good."""
        return self._per_second is not None

    @property
    def documents(self) -> int:
        if self._per_second is None:
            return min(self.most, _FIRST)
        return int(min(self.most, max(_SMALLEST, self._per_second * TASK_SECONDS)))

    def learn(self, documents: int, seconds: float) -> None:
        """Take in how long the embedding of `documents` took. Few of them say little."""
        if documents < _SMALLEST or seconds <= 0:
            return
        newest = documents / seconds
        self._per_second = (
            newest if self._per_second is None else self._per_second + _SHARE_OF_NEWEST * (newest - self._per_second)
        )


@dataclass
class RateLimit:
    """A bucket that fills with `per_second` and holds two seconds' worth; None: no limit."""

    per_second: float | None = None
    _level: float = 0.0
    _filled: float = field(default_factory=lambda: time.monotonic())

    def allows(self) -> bool:
        return self.at_most(1) >= 1

    def at_most(self, wanted: int) -> int:
        """How many of `wanted` may go now; at least one when any may."""
        if self.per_second is None:
            return wanted
        now = time.monotonic()
        self._level = min(max(1.0, 2 * self.per_second), self._level + (now - self._filled) * self.per_second)
        self._filled = now
        return min(wanted, int(self._level))

    def spend(self, count: int) -> None:
        self._level -= count
