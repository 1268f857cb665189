"""Splits a document's text into passages that fit the model's input, counted in the model's own word pieces."""

import bisect
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from esblend.encoder.model import Tokens
from esblend.errors import InvalidRequest
from esblend.plugins import PASSAGES, find
from mappings.attachment import PassageSettings
from mappings.source import SEPARATOR, SourceText

# A sentence ends at its mark and closing quotes, before white space (none needed in Chinese or Japanese), or at a line's end.
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’)\]]*\s+|[。！？]+[」』”’）]*\s*|\n\s*""")
_LETTER = re.compile(r"[A-Za-z0-9]")
_TITLE_SHARE = 4
"""A title longer than a quarter of a passage is not repeated."""


@dataclass(frozen=True)
class Passage:
    """Characters `start` to `end` of the source text, and the text that the model reads for them (with the title, if repeated)."""

    start: int
    end: int
    text: str
    field: str | None = None
    """The source field of the passage, if the attachment embeds fields separately."""


def split(source: SourceText, tokenizer: Tokens, settings: PassageSettings) -> list[Passage]:
    """Split a text with the splitter in the settings. A text without any word piece has no passages.

    Raises InvalidRequest when there is no such splitter, or it returns a passage that is empty or outside the text.
    """
    splitter: Splitter = find(PASSAGES, settings.splitter)
    if settings.fields == "joined":
        passages = splitter(source, tokenizer, settings)
    else:
        passages = [
            Passage(start + passage.start, start + passage.end, passage.text, name)
            for name, start, end in source.parts
            for passage in splitter(SourceText(source.text[start:end], ""), tokenizer, settings)
        ]
    for passage in passages:
        if not (0 <= passage.start < passage.end <= len(source.text) and passage.text.strip()):
            raise InvalidRequest(
                f"the splitter [{settings.splitter}] returned an empty passage or one outside the text: from {passage.start} to "
                f"{passage.end} of {len(source.text)} characters"
            )
    return passages


def read_ahead(sources: Sequence[SourceText], tokenizer: Tokens, settings: PassageSettings) -> Tokens:
    """The tokenizer to split many texts with, in this order; it tokenises them together if it can."""
    if settings.fields != "joined" or not hasattr(tokenizer, "ahead"):
        return tokenizer
    room = settings.max_tokens - tokenizer.special_tokens
    texts = [source.text for source in sources if not _surely_fits(source.text, room)]
    together: Tokens = tokenizer.ahead(texts)
    return together


def by_sentences(source: SourceText, tokenizer: Tokens, settings: PassageSettings) -> list[Passage]:
    """Passages of at most `settings.max_tokens` word pieces, including special tokens and the repeated title.

    A passage ends at a sentence boundary in its second half, else at a word boundary; a word is split only when it is longer
    than a passage. A passage starts at the end of the previous one or, to overlap, a little earlier; together the passages
    cover the whole text, except for white space that fills a passage. A text without any word piece (white space, zero-width
    characters) has none.
    """
    text = source.text
    room = settings.max_tokens - tokenizer.special_tokens
    if _surely_fits(text, room):
        return [Passage(0, len(text), text)]
    spans = tokenizer.spans(text)
    if not spans or source.is_empty:
        return []
    if len(spans) <= room:
        return [Passage(0, len(text), text)]
    title = source.title
    title_tokens = tokenizer.count(title + SEPARATOR) if title else 0
    if title_tokens * _TITLE_SHARE > room:
        title, title_tokens = "", 0
    starts = _Starts(text, spans, _sentence_starts(text, spans))
    passages: list[Passage] = []
    first = 0
    while first < len(spans):
        prefix = title + SEPARATOR if title and first and spans[first][0] >= len(title) else ""
        capacity = room - (title_tokens if prefix else 0)
        last = first + capacity
        while True:
            last = _break_before(first, last, len(spans), starts)
            start = spans[first][0] if first else 0
            end = len(text) if last >= len(spans) else spans[last][0]
            excess = tokenizer.count(prefix + text[start:end]) - room
            if excess <= 0 or last - first <= 1:
                break
            # Some tokenizers add a word piece at the start of a text, which the slice did not have.
            last = max(first + 1, last - excess)
        if text[start:end].strip():  # some tokenizers make pieces of white space
            passages.append(Passage(start, end, prefix + text[start:end]))
        if last >= len(spans):
            break
        first = _overlap_from(first, last, settings.overlap_tokens, starts)
    return passages


Splitter = Callable[[SourceText, Tokens, PassageSettings], list[Passage]]
"""The type of an entry point in `esblend.passages`. A splitter is pure: the same text gives the same passages."""


@dataclass(frozen=True)
class _Starts:
    """The word pieces that start a sentence, a word or a part of a word."""

    text: str
    spans: Sequence[tuple[int, int]]
    sentences: list[int]
    """Positions, sorted."""

    def is_word(self, position: int) -> bool:
        """Whether the piece begins after white space, or it or the one before is an ideograph."""
        (start, _), before = self.spans[position], self.spans[position - 1]
        return start > before[1] or (
            start > before[0] and (_is_ideograph(self.text[start]) or _is_ideograph(self.text[start - 1]))
        )

    def is_part(self, position: int) -> bool:
        """Whether a run of letters or digits ends or begins there."""
        start = self.spans[position][0]
        return start > self.spans[position - 1][0] and not (_joins(self.text[start - 1]) and _joins(self.text[start]))


def _break_before(first: int, last: int, count: int, starts: _Starts) -> int:
    """The word piece before which a passage from `first` ends: at most `last`; a sentence start in the second half if any."""
    if last >= count:
        return count
    sentence = _last_at_most(starts.sentences, last)
    if sentence > first + (last - first) // 2:
        return sentence
    backwards = range(last, first, -1)
    word = next((position for position in backwards if starts.is_word(position)), None)
    if word is not None:
        return word
    return next((position for position in backwards if starts.is_part(position)), last)


def _overlap_from(first: int, last: int, overlap: int, starts: _Starts) -> int:
    """The start of the next passage: a sentence or word start within `overlap` pieces before `last`, else `last`."""
    earliest = max(first + 1, last - overlap)
    following = bisect.bisect_left(starts.sentences, earliest)
    if following < len(starts.sentences) and starts.sentences[following] < last:
        return starts.sentences[following]
    return next((position for position in range(earliest, last) if starts.is_word(position)), last)


def _last_at_most(starts: Sequence[int], limit: int) -> int:
    position = bisect.bisect_right(starts, limit)
    return starts[position - 1] if position else -1


def _sentence_starts(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    begins = [start for start, _ in spans]
    starts = {bisect.bisect_left(begins, match.end()) for match in _SENTENCE_END.finditer(text)}
    return sorted(position for position in starts if 0 < position < len(spans))


def _surely_fits(text: str, room: int) -> bool:
    """Whether a text has a word piece and fits a passage, in every tokenizer: a character of ASCII is one piece at most, and some
    tokenizers add a piece at the start of a text."""
    return len(text) < room and text.isascii() and _LETTER.search(text) is not None


def _joins(char: str) -> bool:
    """Letters, digits, marks and apostrophes belong to a word."""
    return char in "_'’" or unicodedata.category(char)[0] in "LNM"


def _is_ideograph(char: str) -> bool:
    """Chinese characters and kana are words by themselves: their texts have no spaces."""
    return not char.isascii() and unicodedata.name(char, "").startswith(("CJK UNIFIED", "HIRAGANA", "KATAKANA"))
