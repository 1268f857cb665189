"""Limits the documents per second of a backfill."""

import time
from dataclasses import dataclass, field


@dataclass
class RateLimit:
    """A token bucket that fills at `per_second` and holds two seconds' worth. None: no limit."""

    per_second: float | None = None
    _level: float = 0.0
    _filled_at: float = field(default_factory=lambda: time.monotonic())

    def allows_any(self) -> bool:
        return self.allowed(1) >= 1

    def allowed(self, count: int) -> int:
        """The number of documents, at most `count`, that may be sent now."""
        if self.per_second is None:
            return count
        now = time.monotonic()
        self._level = min(max(1.0, 2 * self.per_second), self._level + (now - self._filled_at) * self.per_second)
        self._filled_at = now
        return max(0, min(count, int(self._level)))

    def spend(self, count: int) -> None:
        """Take `count` tokens. The level may become negative; nothing is sent until it is filled again. Documents that were sent
        without a limit cost nothing: a limit that is set later would have to wait for all of them."""
        if self.per_second is not None:
            self._level -= count
