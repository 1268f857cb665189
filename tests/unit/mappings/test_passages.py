"""Passages: token-exact, at sentences, covering everything."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from esblend.encoder.folder import find_model
from esblend.encoder.tokenizer import TextTokenizer, load_tokenizer
from mappings.attachment import PassageSettings
from mappings.passages import read_ahead, split
from mappings.source import SourceText

TOKENIZER = load_tokenizer(find_model("minilm"))
SMALL = PassageSettings(max_tokens=20, overlap_tokens=5)
words = st.sampled_from(
    [
        "alpha",
        "β-test",
        "naïve",
        "hyperparameterization",
        "x.y",
        "3.14",
        "中文字",
        "🚀",
        "don't",
        "e\u0301a",
        "שלום",
        "\x01",
        "\ud800",
    ]
)
texts = st.lists(st.one_of(words, st.sampled_from([". ", "\n", "  ", "! ", "? ", "。"])), max_size=120).map(" ".join)


def tokens(text: str) -> int:
    return TOKENIZER.count(text) + TOKENIZER.special_tokens


def test_a_short_text_is_one_passage() -> None:
    [passage] = split(SourceText("Just a line.", ""), TOKENIZER, SMALL)
    assert (passage.start, passage.end, passage.text) == (0, 12, "Just a line.")


class Asked:
    """A tokenizer that notes which texts it reads."""

    special_tokens = TOKENIZER.special_tokens

    def __init__(self) -> None:
        self.texts: list[str] = []

    def spans(self, text: str) -> list[tuple[int, int]]:
        self.texts.append(text)
        return TOKENIZER.spans(text)

    def count(self, text: str) -> int:
        return len(self.spans(text))


@pytest.mark.parametrize(
    ("text", "is_read"), [("a 1 " * 4, False), ("a 1 " * 5, True), ("naïve", True), ("\x01", True)]
)
def test_a_text_with_fewer_letters_than_room_is_not_tokenised(text: str, is_read: bool) -> None:
    """Only ASCII is certain to have no more word pieces than characters."""
    asked = Asked()
    split(SourceText(text, ""), asked, SMALL)
    assert bool(asked.texts) == is_read


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=127), max_size=30))
def test_short_texts_fit_a_passage(text: str) -> None:
    for passage in split(SourceText(text, ""), TOKENIZER, SMALL):
        assert 0 < TOKENIZER.count(passage.text) <= SMALL.max_tokens - TOKENIZER.special_tokens


@settings(deadline=None)
@given(st.lists(texts, max_size=8))
def test_texts_that_are_tokenised_together_have_the_same_passages(texts: list[str]) -> None:
    sources = [SourceText(text, "") for text in texts]
    together = read_ahead(sources, TOKENIZER, SMALL)
    assert [split(source, together, SMALL) for source in sources] == [
        split(source, TOKENIZER, SMALL) for source in sources
    ]


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_white_space_has_no_passage(text: str) -> None:
    assert split(SourceText(text, ""), TOKENIZER, SMALL) == []


@pytest.mark.parametrize("text", ["one" + "\n" * 100 + "two", "\n" * 100 + "one", "one" + "\t" * 100])
def test_white_space_that_fills_a_passage_is_no_passage(text: str) -> None:
    """Byte-level tokenizers (RoBERTa, Qwen) make pieces of white space."""
    described = Tokenizer(models.BPE({byte: id_ for id_, byte in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    described.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = TextTokenizer(find_model("minilm"), described.to_str())
    passages = split(SourceText(text, ""), tokenizer, SMALL)
    assert "".join(passage.text for passage in passages).split() == text.split()
    assert all(tokenizer.count(passage.text) <= SMALL.max_tokens for passage in passages)


def test_passages_break_at_sentences() -> None:
    sentences = [
        "The first sentence is this one here. ",
        "A second one follows it at once. ",
        "And a third ends it all.",
    ]
    passages = split(SourceText("".join(sentences), ""), TOKENIZER, PassageSettings(max_tokens=20, overlap_tokens=0))
    assert [passage.text for passage in passages] == ["".join(sentences[:2]), sentences[2]] or [
        passage.text for passage in passages
    ] == sentences


def test_the_title_is_repeated_and_counted() -> None:
    text = "On wings\n" + "Lift grows with speed and with the angle. " * 8
    passages = split(SourceText(text, "On wings"), TOKENIZER, SMALL)
    assert len(passages) > 2
    assert passages[0].text.startswith("On wings\nLift")
    for passage in passages[1:]:
        assert passage.text.startswith("On wings\n")
        assert passage.text.removeprefix("On wings\n") == text[passage.start : passage.end]
        assert tokens(passage.text) <= SMALL.max_tokens


def test_a_long_title_is_not_repeated() -> None:
    title = "a very long title that would leave hardly any room for the text itself"
    passages = split(SourceText(f"{title}\n{'word ' * 60}", title), TOKENIZER, SMALL)
    assert all(not passage.text.startswith(title) for passage in passages[1:])


def test_neighbours_overlap() -> None:
    passages = split(SourceText("one two three four five six seven eight nine ten " * 6, ""), TOKENIZER, SMALL)
    for before, after in pairwise(passages):
        assert before.start < after.start < before.end


@settings(max_examples=300)
@given(texts, st.integers(16, 40), st.integers(0, 8))
def test_every_text_is_covered_within_the_limit(text: str, max_tokens: int, overlap: int) -> None:
    passages = split(SourceText(text, ""), TOKENIZER, PassageSettings(max_tokens=max_tokens, overlap_tokens=overlap))
    if SourceText(text, "").is_empty or not TOKENIZER.spans(text):
        assert passages == []
        return
    assert passages[0].start == 0
    assert passages[-1].end == len(text)
    for passage in passages:
        assert passage.text == text[passage.start : passage.end]
        assert tokens(passage.text) <= max_tokens
    for before, after in pairwise(passages):
        assert before.start < after.start <= before.end
        assert after.end > before.end


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["wing", "hyperparameterization", "lift,", "drag.", "it's"]), min_size=10, max_size=80))
def test_words_stay_whole(words: list[str]) -> None:
    text = " ".join(words)
    for passage in split(SourceText(text, ""), TOKENIZER, SMALL):
        assert passage.start == 0 or text[passage.start - 1] == " "
        assert passage.end == len(text) or text[passage.end - 1] == " "


def test_a_word_longer_than_a_passage_is_split() -> None:
    text = "ab" * 45
    passages = split(SourceText(text, ""), TOKENIZER, PassageSettings(max_tokens=16, overlap_tokens=0))
    assert "".join(text[passage.start : passage.end] for passage in passages) == text
    assert len(passages) > 1


def test_a_very_long_text_has_the_word_pieces_of_its_parts() -> None:
    sentence = "Naïve Überlegungen — 中文 and 🚀 rockets, don't stop. "
    spans = TOKENIZER.spans(sentence * 5000)
    alone = TOKENIZER.spans(sentence)
    assert spans == [
        (start + turn * len(sentence), end + turn * len(sentence)) for turn in range(5000) for start, end in alone
    ]


@pytest.mark.parametrize("text", ["\u200b\u200b", "\u0000\u0001\r\n", "\ufeff \u2060", "\u0301\u0301", "\u200d\ufe0f"])
def test_a_text_without_any_word_piece_has_no_passages(text: str) -> None:
    assert SourceText(text, "").is_empty
    assert split(SourceText(text, ""), TOKENIZER, SMALL) == []
