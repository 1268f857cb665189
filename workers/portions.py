"""Cuts what a task reads into portions that take about the same time to encode.

page of a search -> portions of about half a second, or of a fifth of a second while live changes arrive
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from workers.documents import Document
from workers.portion_writes import Portion

_SECONDS = 0.6
"""Two are in the encoder. Longer portions save no CPU time: their batches need hardly less padding."""
_SECONDS_BESIDE_LIVE = 0.2
"""A live change waits for the two portions in the encoder."""
_LIVE_SECONDS = 30.0
"""For this long after a live task, portions are short."""
_FIRST_CHARACTERS = 8_000
_FEWEST_CHARACTERS = 500
_MOST_CHARACTERS = 4_000_000
_MAX_GROWTH = 2.0


@dataclass
class PortionSize:
    """How many characters of text go into a portion, learned for each model from the time that encoding takes."""

    _per_second: dict[str, float] = field(default_factory=dict)
    _live_at: float = float("-inf")

    def note_live(self) -> None:
        """A live task runs: more of them are likely."""
        self._live_at = time.monotonic()

    def characters(self, model: str) -> int:
        """Characters of a portion for a model, by its digest."""
        per_second = self._per_second.get(model)
        if per_second is None:
            return _FIRST_CHARACTERS
        is_live = time.monotonic() - self._live_at < _LIVE_SECONDS
        seconds = _SECONDS_BESIDE_LIVE if is_live else _SECONDS
        return int(min(_MOST_CHARACTERS, max(_FEWEST_CHARACTERS, per_second * seconds)))

    def learn(self, model: str, *, characters: int, seconds: float) -> None:
        """Learn from a portion. Cached vectors take no time: the speed at most doubles with each portion."""
        if characters < _FEWEST_CHARACTERS or seconds <= 0:
            return
        known = self._per_second.get(model, _FIRST_CHARACTERS / _SECONDS)
        self._per_second[model] = min(characters / seconds, _MAX_GROWTH * known)


def cut(page: Portion, characters: int, numbers: Sequence[int] | None = None) -> Iterator[Portion]:
    """Cut a page into portions of about so many characters that need a vector, and of about equal size.

    `numbers`: the sequence number of each requested document, in order. No cut is between two equal ones, because a task can end
    at each cut.
    """
    documents = {document.key: document for document in page.documents}
    total = sum(_length(document) for document in page.documents)
    each = max(1, -(-total // max(1, round(total / characters))))
    start, before, first = 0, 0, 0
    portion: list[Document] = []
    for position, key in enumerate(page.requested):
        document = documents.pop(key, None)
        length = 0 if document is None else _length(document)
        # The portion in which the middle of the text would be, if documents could be cut.
        number = (before + length // 2) // each
        is_between = numbers is None or position == 0 or numbers[position] != numbers[position - 1]
        if position > start and number != first and is_between:
            until = None if numbers is None else numbers[position - 1]
            yield replace(page, requested=page.requested[start:position], documents=portion, until=until)
            start, portion = position, []
        if position == start:
            first = number
        before += length
        if document is not None:
            portion.append(document)
    yield replace(page, requested=page.requested[start:], documents=portion)


def _length(document: Document) -> int:
    return 0 if document.is_current else len(document.source.text)
