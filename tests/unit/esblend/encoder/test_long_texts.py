"""Of a long text the tokenizer reads its beginning only, with the same word pieces."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

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
    assert tokenizer.ids([LONG[name], "short"])[0] == tokenizer._cut_ids([LONG[name]])[0]


def test_a_long_text_is_read_to_its_beginning_only(monkeypatch: pytest.MonkeyPatch) -> None:
    described = SimpleNamespace(
        max_tokens=MAX_TOKENS, lower_case=False, input_kind="Transformer", name="tiny", input_path=Path()
    )
    tokenizer = TextTokenizer(cast(Any, described), tokenizer_json("wordpiece"))
    read = []
    monkeypatch.setattr(tokenizer, "_normal", lambda text: read.append(len(text)) or text)
    tokenizer.ids([LONG["words"]])
    assert sum(read) < len(LONG["words"]) / 10
