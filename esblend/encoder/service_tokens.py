"""Word pieces of models behind a service: asked from the service where it has `/tokenize`, otherwise estimated."""

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from esblend.errors import ModelError

# Latin, Greek and Cyrillic words have about four letters a piece. In other scripts (ideographs, kana, Thai, ...) a piece can be a
# single character.
_PIECE = re.compile(r"(?:(?![^\u0000-\u052f\u1e00-\u1fff])\w){1,4}|\w|[^\w\s]")
_REMEMBERED = 64
"""Texts whose pieces are remembered: the splitter asks for the same title of all passages."""


class ApproximateTokens:
    """Estimates the word pieces of an unknown tokenizer, rather too many than too few: at most four Latin, Greek or Cyrillic
    letters or digits, one letter of any other script, or one other sign."""

    special_tokens = 2

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in _PIECE.finditer(text)]

    def count(self, text: str) -> int:
        return sum(1 for _ in _PIECE.finditer(text))


class ServiceTokens:
    """The tokenizer of a text-embeddings-inference service, by its `/tokenize`. Thread-safe."""

    def __init__(self, ask: Callable[[str, bool], Sequence[Mapping[str, Any]]]) -> None:
        """`ask(text, add_special_tokens)` gives the service's tokens. Raises ModelError when it has no tokenizer."""
        self._ask = ask
        self._spans: OrderedDict[str, list[tuple[int, int]]] = OrderedDict()
        self.special_tokens = len(ask("a", True)) - len(ask("a", False))

    def spans(self, text: str) -> list[tuple[int, int]]:
        known = self._spans.get(text)
        if known is not None:
            return known
        spans = spans_of(text, self._ask(text, False)) if text else []
        self._spans[text] = spans
        if len(self._spans) > _REMEMBERED:
            self._spans.popitem(last=False)
        return spans

    def count(self, text: str) -> int:
        return len(self.spans(text))


def spans_of(text: str, tokens: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """(start, end) of each token in characters. Some versions of the service count bytes: they are recognised by their ends.

    Raises ModelError when a token is outside the text.
    """
    try:
        pairs = [(int(token["start"]), int(token["stop"])) for token in tokens if not token.get("special")]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("the service of the encoder answers otherwise than /tokenize does") from error
    if _counts_bytes(text, max((stop for _, stop in pairs), default=0)):
        offsets = _character_of_byte(text)
        if any(stop >= len(offsets) for _, stop in pairs):
            raise ModelError("the service of the encoder gives tokens outside the text")
        pairs = [(offsets[start], offsets[stop]) for start, stop in pairs]
    return [(start, stop) for start, stop in pairs if start < stop]


def _counts_bytes(text: str, end: int) -> bool:
    """Whether `end`, the end of the last token, is a position in bytes. The last token reaches the end of the text, or of its
    last word."""
    texts = (text, text.rstrip())
    in_bytes = end in [len(encoded.encode("utf-8", "replace")) for encoded in texts]
    return end > len(text) or (in_bytes and end not in [len(encoded) for encoded in texts])


def _character_of_byte(text: str) -> list[int]:
    """For each byte of the text in UTF-8, and its end, the position of the character that it belongs to."""
    positions: list[int] = []
    for position, character in enumerate(text):
        positions += [position] * len(character.encode("utf-8", "replace"))
    return [*positions, len(text)]
