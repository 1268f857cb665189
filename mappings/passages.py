"""Splits a document's text into passages that the model reads whole, by the model's own word pieces."""

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
_TITLE_SHARE = 4
"""A title longer than this part of a passage (a quarter) is not repeated."""


@dataclass(frozen=True)
class Passage:
    """Characters `start` to `end` of the source text, and what the model reads for them (the title may stand before)."""

    start: int
    end: int
    text: str
    field: str | None = None
    """The source field that it is of, where they are embedded apart."""


def split(source: SourceText, tokenizer: Tokens, settings: PassageSettings) -> list[Passage]:
    """Passages by the splitter that the settings name, which is checked: each lies in the text and none is empty.

    Raises InvalidRequest when there is no such splitter, or it does not do as it should.
    """
    splitter: Splitter = find(PASSAGES, settings.splitter)
    if settings.fields == "joined":
        passages = splitter(source, tokenizer, settings)
    else:
        passages = [
            Passage(start + one.start, start + one.end, one.text, name)
            for name, start, end in source.parts
            for one in splitter(SourceText(source.text[start:end], ""), tokenizer, settings)
        ]
    for one in passages:
        if not (0 <= one.start < one.end <= len(source.text) and one.text.strip()):
            raise InvalidRequest(
                f"the splitter [{settings.splitter}] gave a passage from {one.start} to {one.end} of a text with "
                f"{len(source.text)} characters, or an empty one"
            )
    return passages


def by_sentences(source: SourceText, tokenizer: Tokens, settings: PassageSettings) -> list[Passage]:
    """Passages of at most `settings.max_tokens` word pieces, special tokens and the repeated title counted.

    They break at sentences where there are any in reach, else at words; a word is split only when it is longer than a
    passage. Each begins where the one before it ended or, to overlap, a little earlier; together they cover all of the
    text. A text without anything but white space has none.
    """
    text = source.text
    spans = tokenizer.spans(text)
    if not text.strip():
        return []
    room = settings.max_tokens - tokenizer.special_tokens
    if len(spans) <= room:
        return [Passage(0, len(text), text)]
    title = source.title
    title_tokens = tokenizer.count(title + SEPARATOR) if title else 0
    if title_tokens * _TITLE_SHARE > room:
        title, title_tokens = "", 0
    starts = _Starts(_sentence_starts(text, spans), *_word_starts(text, spans))
    passages: list[Passage] = []
    first = 0
    while first < len(spans):
        prefix = title + SEPARATOR if title and passages and spans[first][0] >= len(title) else ""
        capacity = room - (title_tokens if prefix else 0)
        last = first + capacity
        while True:
            last = _break_before(first, last, len(spans), starts)
            start = 0 if not passages else spans[first][0]
            end = len(text) if last >= len(spans) else spans[last][0]
            excess = tokenizer.count(prefix + text[start:end]) - room
            if excess <= 0 or last - first <= 1:
                break
            # Some tokenizers mark the beginning of a text with a piece more than the slice had.
            last = max(first + 1, last - excess)
        passages.append(Passage(start, end, prefix + text[start:end]))
        if last >= len(spans):
            break
        first = _overlap_from(first, last, settings.overlap_tokens, starts)
    return passages


Splitter = Callable[[SourceText, Tokens, PassageSettings], list[Passage]]
"""What an entry point of `esblend.passages` stands for. It is pure: the same text gives the same passages."""


@dataclass(frozen=True)
class _Starts:
    """Word pieces, by position, that begin a sentence; a word after white space (or an ideograph); a part of a word."""

    sentences: list[int]
    words: list[int]
    parts: list[int]


def _break_before(first: int, last: int, count: int, starts: _Starts) -> int:
    """The word piece before which a passage from `first` ends: at most `last`, at a sentence in its second half if any."""
    if last >= count:
        return count
    sentence = _last_at_most(starts.sentences, last)
    if sentence > first + (last - first) // 2:
        return sentence
    for found in (_last_at_most(starts.words, last), _last_at_most(starts.parts, last)):
        if found > first:
            return found
    return last


def _overlap_from(first: int, last: int, overlap: int, starts: _Starts) -> int:
    """Where the next passage begins: a sentence or word start within `overlap` pieces before `last`, else `last`."""
    for found in (starts.sentences, starts.words):
        position = bisect.bisect_left(found, max(first + 1, last - overlap))
        if position < len(found) and found[position] < last:
            return found[position]
    return last


def _last_at_most(starts: Sequence[int], limit: int) -> int:
    position = bisect.bisect_right(starts, limit)
    return starts[position - 1] if position else -1


def _sentence_starts(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    begins = [start for start, _ in spans]
    found = {bisect.bisect_left(begins, match.end()) for match in _SENTENCE_END.finditer(text)}
    return sorted(position for position in found if 0 < position < len(spans))


def _word_starts(text: str, spans: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """(words, parts): where a word begins, and where at least no run of letters and digits is cut."""
    words, parts = [], []
    for position in range(1, len(spans)):
        start, before = spans[position][0], spans[position - 1]
        if start > before[1] or (start > before[0] and (_is_ideograph(text[start]) or _is_ideograph(text[start - 1]))):
            words.append(position)
        elif start > before[0] and not (_joins(text[start - 1]) and _joins(text[start])):
            parts.append(position)
    return words, parts


def _joins(char: str) -> bool:
    """Letters, digits, marks and apostrophes hold a word together."""
    return char in "_'’" or unicodedata.category(char)[0] in "LNM"


def _is_ideograph(char: str) -> bool:
    """Chinese characters and kana stand for themselves: a text of them has no spaces."""
    return not char.isascii() and unicodedata.name(char, "").startswith(("CJK UNIFIED", "HIRAGANA", "KATAKANA"))
