"""Word pieces of many texts, tokenised together: the Rust tokenizer divides a batch among all processors."""

from collections import deque
from collections.abc import Callable, Sequence

from esblend.encoder.model import Tokens

Spans = list[tuple[int, int]]
_CHARACTERS = 200_000
"""What is tokenised in advance: it bounds the memory."""


class ReadAhead:
    """A tokenizer for texts that a splitter will ask for in this order. Other texts, and each text a second time, are tokenised
    alone. Not thread-safe."""

    def __init__(
        self,
        tokenizer: Tokens,
        texts: Sequence[str],
        read: Callable[[list[str]], list[Callable[[], Spans]]],
        count: Callable[[str], int],
    ) -> None:
        """`read` tokenises a batch, and gives for each text a function that makes its spans. Raises any exception."""
        self.special_tokens = tokenizer.special_tokens
        self.count = count
        self._tokenizer = tokenizer
        self._read = read
        self._waiting = deque(texts)
        self._known: dict[str, Callable[[], Spans]] = {}

    def spans(self, text: str) -> Spans:
        """See `Tokens`."""
        if text not in self._known and text in self._waiting:
            self._read_from(text)
        known = self._known.pop(text, None)
        return self._tokenizer.spans(text) if known is None else known()

    def _read_from(self, text: str) -> None:
        while self._waiting[0] != text:
            self._waiting.popleft()
        batch: list[str] = []
        characters = 0
        while self._waiting and characters < _CHARACTERS:
            batch.append(self._waiting.popleft())
            characters += len(batch[-1])
        try:
            self._known = dict(zip(batch, self._read(batch), strict=True))
        except Exception:  # the Rust library raises bare Exception; alone, only the text at fault fails
            self._known = {}
