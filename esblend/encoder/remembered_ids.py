"""Word pieces of texts that are about to be embedded: the splitter of passages has tokenised them already."""

import threading
from array import array
from collections.abc import Sequence

_TEXTS = 16_384
"""More than two portions of a worker on a GPU. With 128 word pieces each they need 20 MB."""


class RememberedIds:
    """Word-piece ids by text, each for one use. The oldest are forgotten. Thread-safe."""

    def __init__(self) -> None:
        self._ids: dict[str, array[int]] = {}
        self._lock = threading.Lock()

    def add(self, text: str, ids: Sequence[int]) -> None:
        with self._lock:
            self._ids[text] = array("I", ids)
            if len(self._ids) > _TEXTS:
                del self._ids[next(iter(self._ids))]

    def take(self, text: str) -> list[int] | None:
        with self._lock:
            found = self._ids.pop(text, None)
        return None if found is None else found.tolist()
