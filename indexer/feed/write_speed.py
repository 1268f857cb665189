"""The number of documents that got vectors in the last seconds, for the status of an index."""

import time
from collections import deque
from dataclasses import dataclass, field

_SECONDS = 10.0


@dataclass
class WriteSpeed:
    """Documents a second over the last ten seconds."""

    _written: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, documents: int) -> None:
        self._written.append((time.monotonic(), documents))

    def per_second(self) -> float:
        now = time.monotonic()
        while self._written and now - self._written[0][0] > _SECONDS:
            self._written.popleft()
        if not self._written:
            return 0.0
        return round(sum(count for _, count in self._written) / max(1.0, now - self._written[0][0]), 1)
