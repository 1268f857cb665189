"""Of a long text the tokenizer reads its beginning only, with the same word pieces."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from esblend.encoder.tokenizer import TextTokenizer
from tests.unit.esblend.encoder.tiny_models import tokenizer_json

MAX_TOKENS = 40
LONG = {
    "words": " ".join(f"word{number}" for number in range(5000)),
    "lines": "A sentence about wings.\n\n\tAnother one.  \r\n" * 500,
    "long words": " ".join("x" * 700 for _ in range(50)),
    "one word": "y" * 50_000,
    "no word at first": "\u200b " * 400 + "wing " * 4000,
    "control characters": "\x00 " * 30_000 + "wing",
    "another script": "混合 搜索 结合 了 关键词 " * 500,
}


@pytest.mark.parametrize("kind", ["wordpiece", "bytes", "unigram"])
@pytest.mark.parametrize("name", LONG)
def test_the_beginning_has_the_same_word_pieces(kind: str, name: str) -> None:
    described = SimpleNamespace(
        max_tokens=MAX_TOKENS, lower_case=False, input_kind="Transformer", name="tiny", input_path=Path()
    )
    tokenizer = TextTokenizer(cast(Any, described), tokenizer_json(kind))
    assert tokenizer.ids([LONG[name], "short"])[0] == tokenizer._encode_cut([LONG[name]])[0].ids


def test_a_piece_that_begins_before_white_space_and_ends_after_it_stays_whole() -> None:
    merges = [("-" * 2**power, "-" * 2**power) for power in range(5)] + [(".", "Ċ")]
    pieces = [*pre_tokenizers.ByteLevel.alphabet(), *("".join(pair) for pair in merges)]
    joining = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=merges))
    punctuation_with_lines = pre_tokenizers.Split(Regex(r"\w+|[^\s\w]+\n*|\s+"), behavior="isolated")
    joining.pre_tokenizer = pre_tokenizers.Sequence([
        punctuation_with_lines, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    ])  # fmt: skip
    described = SimpleNamespace(
        max_tokens=4, lower_case=False, input_kind="Transformer", name="tiny", input_path=Path()
    )
    tokenizer = TextTokenizer(cast(Any, described), joining.to_str())
    [ids] = tokenizer.ids(["-" * 96 + ".\n" + "abc def ghi " * 10])
    assert [pieces[piece] for piece in ids] == ["-" * 32, "-" * 32, "-" * 32, ".Ċ"]


def test_a_long_text_is_read_to_its_beginning_only(monkeypatch: pytest.MonkeyPatch) -> None:
    described = SimpleNamespace(
        max_tokens=MAX_TOKENS, lower_case=False, input_kind="Transformer", name="tiny", input_path=Path()
    )
    tokenizer = TextTokenizer(cast(Any, described), tokenizer_json("wordpiece"))
    read = []
    monkeypatch.setattr(tokenizer, "_normal", lambda text: read.append(len(text)) or text)
    tokenizer.ids([LONG["words"]])
    assert sum(read) < len(LONG["words"]) / 10
