"""Learns how many documents a range of sequence numbers holds, and decides how wide the next range is.

Each write has a sequence number, and a document has the number of its last write. A shard whose documents were written often, or
deleted, has long ranges with few documents; the feed learns it from the finished tasks and never searches itself.
"""

from dataclasses import dataclass

_FIRST_NUMBERS = 32.0
_MARGIN = 0.8
_MAX_GROWTH = 4
_WIDEST = 1_000_000


@dataclass
class Density:
    """Documents per sequence number where one cursor reads. The first estimate is one: no document was written twice."""

    _documents: float = _FIRST_NUMBERS
    _numbers: float = _FIRST_NUMBERS
    _last_width: int = 0
    _widest: int = _WIDEST

    def width(self, documents: int) -> int:
        """The number of sequence numbers that hold about `documents` documents, with a margin, and at least `documents`.

        A range is at most four times as wide as the last finished one, and at most a million numbers wide: a search over more could
        exceed every time limit, and each repetition as well.
        """
        expected = int(_MARGIN * documents * self._numbers / max(self._documents, 1e-9))
        return max(documents, min(expected, _MAX_GROWTH * self._last_width, self._widest))

    def learn(self, *, width: int, documents: int) -> None:
        """Learn from a finished range; each range halves the weight of the earlier ones."""
        self._documents = self._documents / 2 + documents
        self._numbers = self._numbers / 2 + width
        self._last_width = width
        self._widest = min(_WIDEST, self._widest + self._widest // 8 + 1)

    def narrow(self, width: int) -> None:
        """Send ranges a quarter as wide: the task of a range failed or was lost. Finished ranges let them grow again slowly."""
        self._widest = max(1, min(self._widest, width // 4))
