"""Texts that are tokenised together have the word pieces that they have alone."""

from typing import Any

import pytest

from esblend.encoder.folder import find_model
from esblend.encoder.read_ahead import ReadAhead
from esblend.encoder.tokenizer import load_tokenizer

TEXTS = ["one two", "混合搜索 🚀", "", "İstanbul \ud800 lone surrogate", "one two", "word " * 30_000, "the last"]


class Letters:
    """A tokenizer with one word piece for each letter, which counts its calls. It cannot tokenise `!`."""

    special_tokens = 0

    def __init__(self) -> None:
        self.alone: list[str] = []
        self.batches: list[list[str]] = []

    def spans(self, text: str) -> list[tuple[int, int]]:
        self.alone.append(text)
        if "!" in text:
            raise ValueError("not a letter")
        return [(position, position + 1) for position in range(len(text))]

    def count(self, text: str) -> int:
        return len(text)

    def read(self, texts: list[str]) -> Any:
        self.batches.append(texts)
        spans = [Letters().spans(text) for text in texts]
        return [lambda found=found: found for found in spans]


def test_a_model_reads_ahead_what_it_reads_alone() -> None:
    tokenizer: Any = load_tokenizer(find_model("minilm"))
    ahead = tokenizer.ahead(TEXTS)
    assert [ahead.spans(text) for text in TEXTS] == [tokenizer.spans(text) for text in TEXTS]
    assert ahead.special_tokens == tokenizer.special_tokens
    assert ahead.count("one two") == 2


def test_texts_are_read_in_one_batch_and_not_more_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esblend.encoder.read_ahead._CHARACTERS", 5)
    letters = Letters()
    texts = ["abc", "de", "f", "g"]
    ahead = ReadAhead(letters, texts, letters.read)
    assert [len(ahead.spans(text)) for text in texts] == [3, 2, 1, 1]
    assert letters.batches == [["abc", "de"], ["f", "g"]]
    assert letters.alone == []


def test_a_text_that_is_not_next_is_read_as_well() -> None:
    letters = Letters()
    ahead = ReadAhead(letters, ["a", "b", "c"], letters.read)
    assert [len(ahead.spans(text)) for text in ("b", "unknown", "c", "c", "a")] == [1, 7, 1, 1, 1]
    assert letters.batches == [["b", "c"]]
    assert letters.alone == ["unknown", "c", "a"]


def test_only_the_text_at_fault_fails() -> None:
    letters = Letters()
    ahead = ReadAhead(letters, ["ab", "!", "c"], letters.read)
    assert len(ahead.spans("ab")) == 2
    with pytest.raises(ValueError, match="not a letter"):
        ahead.spans("!")
    assert len(ahead.spans("c")) == 1
