"""Every architecture gives sentence-transformers' vectors, in each backend that takes it, and its passages are cut right.

OpenVINO exports take seconds, so the suite exports only two architectures, whose attention differs much from BERT's: MPNet (its
own position bias) and Qwen2 (a decoder). `python -m bench architectures` exports all of them.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from esblend.encoder.encoder import Encoder
from esblend.errors import ModelError
from mappings.attachment import PassageSettings
from mappings.passages import split
from mappings.source import SourceText
from tests.unit.esblend.encoder.parity import LONG, TEXTS, assert_same, load, reference
from tests.unit.esblend.encoder.tiny_models import ARCHITECTURES, write_model

PADDED = {"MPNet", "DeBERTa-v2", "ModernBERT", "Gemma3", "T5", "ByT5"}
"""Architectures whose attention cannot be replaced by the packed one."""
NEVER_PADDED = {"ConvBERT"}
"""Its convolutions mix padding into the texts, so that sentence-transformers' vectors depend on the batch."""


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(architecture: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"), architecture)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load(folder)


def test_vectors_on_pytorch(encoder: Encoder, folder: Path, architecture: str) -> None:
    batches = [[text] for text in TEXTS] if architecture in NEVER_PADDED else [TEXTS]
    assert_same(encoder.encode_documents(TEXTS), reference(folder, *batches))


def test_padding_is_told(encoder: Encoder, architecture: str) -> None:
    detail = encoder.describe().get("detail", "")
    assert ("PyTorch pads the batches of this model: " in detail) == (architecture in PADDED), detail
    assert ("padding changes the vectors of this model" in detail) == (architecture in NEVER_PADDED), detail


def test_passages_fit_the_model_and_cover_the_text(encoder: Encoder) -> None:
    tokenizer: Any = encoder.tokenizer
    passages = split(SourceText(LONG, ""), tokenizer, PassageSettings(max_tokens=40, overlap_tokens=8))
    assert len(passages) > 3
    assert (passages[0].start, passages[-1].end) == (0, len(LONG))
    for passage, following in pairwise(passages):
        assert passage.start < following.start <= passage.end
    for passage in passages:
        assert passage.text == LONG[passage.start : passage.end]
        assert len(tokenizer.ids([passage.text])[0]) <= 40


def test_a_text_in_ascii_has_no_more_word_pieces_than_characters_and_one(encoder: Encoder) -> None:
    """The splitter of passages relies on it."""
    for text in ("~{}^`|" * 4, "a b c d", "q9\x7f\x00z\t\t\t  Z", "Zx1" * 9, "  spaces   everywhere  "):
        assert 0 < encoder.tokenizer.count(text) <= len(text) + 1, text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ConvBERT", "padding changes the vectors of this model"),
        ("Gemma3", "OpenVINO cannot convert this model: IndexError"),
    ],
)
def test_what_openvino_cannot_do_is_named(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESBLEND_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=reason):
        load(write_model(tmp_path, name), "openvino")


@pytest.mark.parametrize("name", ["MPNet", "Qwen2"])
def test_vectors_on_openvino(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESBLEND_CACHE_DIR", str(tmp_path / "cache"))
    folder = write_model(tmp_path, name)
    assert_same(load(folder, "openvino").encode_documents(TEXTS), reference(folder))
