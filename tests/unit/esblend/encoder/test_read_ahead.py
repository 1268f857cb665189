"""Texts that are tokenised together have the word pieces that they have alone."""

from pathlib import Path
from typing import Any

import pytest

from esblend.encoder.folder import find_model
from esblend.encoder.folder_reader import read_folder
from esblend.encoder.read_ahead import ReadAhead
from esblend.encoder.remembered_ids import RememberedIds
from esblend.encoder.tokenizer import load_tokenizer
from tests.unit.esblend.encoder.tiny_models import ARCHITECTURES, write_transformer

TEXTS = ["one two", "混合搜索 🚀", "", "İstanbul \ud800 lone surrogate", "one two", "word " * 30_000, "the last"]


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "XLM-R", "Qwen2"])
def test_what_was_read_ahead_has_the_ids_that_it_has_alone(name: str, tmp_path: Path) -> None:
    folder = read_folder(write_transformer(tmp_path, ARCHITECTURES[name]), name)
    tokenizer: Any = load_tokenizer(folder)
    expected = tokenizer.ids(TEXTS)
    ahead = tokenizer.ahead(TEXTS)
    for text in TEXTS:
        ahead.spans(text)
    assert tokenizer._remembered.take("one two") == expected[0]
    assert tokenizer.ids(TEXTS) == expected
    assert tokenizer.ids(TEXTS) == expected


def test_a_counted_passage_has_the_ids_that_it_has_alone() -> None:
    tokenizer: Any = load_tokenizer(find_model("minilm"))
    [expected] = tokenizer.ids(["Zürich and the 混合"])
    assert tokenizer.ahead([]).count("Zürich and the 混合") == len(expected) - 2
    assert tokenizer._remembered.take("Zürich and the 混合") == expected


def test_the_oldest_ids_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esblend.encoder.remembered_ids._TEXTS", 2)
    remembered = RememberedIds()
    for number, text in enumerate("abc"):
        remembered.add(text, [number, 70_000])
    assert [remembered.take(text) for text in "abcc"] == [None, [1, 70_000], [2, 70_000], None]


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
    ahead = ReadAhead(letters, texts, letters.read, letters.count)
    assert [len(ahead.spans(text)) for text in texts] == [3, 2, 1, 1]
    assert letters.batches == [["abc", "de"], ["f", "g"]]
    assert letters.alone == []


def test_a_text_that_is_not_next_is_read_as_well() -> None:
    letters = Letters()
    ahead = ReadAhead(letters, ["a", "b", "c"], letters.read, letters.count)
    assert [len(ahead.spans(text)) for text in ("b", "unknown", "c", "c", "a")] == [1, 7, 1, 1, 1]
    assert letters.batches == [["b", "c"]]
    assert letters.alone == ["unknown", "c", "a"]


def test_only_the_text_at_fault_fails() -> None:
    letters = Letters()
    ahead = ReadAhead(letters, ["ab", "!", "c"], letters.read, letters.count)
    assert len(ahead.spans("ab")) == 2
    with pytest.raises(ValueError, match="not a letter"):
        ahead.spans("!")
    assert len(ahead.spans("c")) == 1
