"""A tokenizer that exists in Python only, such as ByT5's: it gives ids but no character spans, so spans are taken by words."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from esblend.encoder.model_folder import ModelFolder
from esblend.encoder.surrogates import replace_surrogates

_WORD = re.compile(r"\s*(?P<word>\S+)(?:\s+$)?")


class PythonTokenizer:
    """See `ModelTokenizer`. `spans` divides the characters of each word evenly among the word's pieces."""

    def __init__(self, folder: ModelFolder, tokenizer: Any) -> None:
        """`tokenizer`: a tokenizer of transformers that is not fast."""
        self._tokenizer = tokenizer
        self._max_tokens = folder.max_tokens
        self._lower_case = folder.lower_case
        self.special_tokens = int(tokenizer.num_special_tokens_to_add(pair=False))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See `ModelTokenizer`."""
        encoded = self._tokenizer(
            [self._normal(text) for text in texts], truncation=True, max_length=self._max_tokens, padding=False
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of each word piece of `text`, in characters (code points), without special tokens; see above."""
        spans: list[tuple[int, int]] = []
        for match in _WORD.finditer(text):
            start, end = match.span("word")
            # White space can be pieces, too. Its pieces count as pieces of the word, so that no text has too few spans.
            pieces = max(1, self.count(match.group()))
            spans += pairwise(start + (end - start) * number // pieces for number in range(pieces + 1))
        return spans

    def count(self, text: str) -> int:
        """Word pieces of `text` without special tokens, uncut."""
        return len(self._tokenizer(self._normal(text), add_special_tokens=False)["input_ids"])

    def _normal(self, text: str) -> str:
        return replace_surrogates(text).lower() if self._lower_case else replace_surrogates(text)
