"""Models behind an HTTP service, against a real one on this machine."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from esblend.encoder.encoder import load_encoder
from esblend.encoder.http_model import ApproximateTokens
from esblend.encoder.registry import Encoders
from esblend.errors import EncodingError, ModelError
from esblend.settings import Settings
from tests.embedding_service import EmbeddingService, embedding_service

TEXTS = [f"text number {n}" for n in range(5)]


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddingService]:
    with embedding_service() as service:
        yield service


@pytest.fixture
def service(running: EmbeddingService) -> EmbeddingService:
    running.refusals, running.batches, running.authorizations, running.nonsense = [], [], [], None
    return running


def encoders(service: EmbeddingService, **more: Any) -> Encoders:
    return Encoders(Settings(encoder_url=service.url, **more), "documents")


@pytest.mark.parametrize("name", ["openai:any-model", "tei:minilm"])
def test_its_vectors_come_in_order_and_batches(service: EmbeddingService, name: str) -> None:
    encoder = encoders(service, encoder_batch_texts=2, encoder_api_key=SecretStr("key")).load(name)
    service.batches.clear()
    found = encoder.encode_documents(TEXTS)
    np.testing.assert_allclose(found, load_encoder("minilm").encode_documents(TEXTS), atol=1e-5)
    assert service.batches == [2, 2, 1]
    assert set(service.authorizations) == {"Bearer key"}


def test_overload_is_waited_out(service: EmbeddingService) -> None:
    encoder = encoders(service).load("openai:m")
    service.refusals = [429, 503]
    assert encoder.encode_documents(TEXTS).shape == (5, 384)
    assert not service.refusals


def test_a_service_that_stays_away_is_no_documents_fault(service: EmbeddingService) -> None:
    encoder = encoders(service, encoder_retries=1).load("openai:m")
    service.refusals = [503, 503]
    with pytest.raises(ModelError, match="status 503"):
        encoder.encode_documents(TEXTS)


def test_a_text_that_is_refused_is_its_own_fault(service: EmbeddingService) -> None:
    encoder = encoders(service).load("openai:m")
    service.refusals = [413]
    with pytest.raises(EncodingError, match="rejected a text"):
        encoder.encode_documents(TEXTS)


@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [
        ([[1.0, 2.0]], "1 vectors for 5 texts"),
        ([[1.0], [1.0, 2.0], [1.0], [1.0], [1.0]], "different widths"),
        ([["a"]] * 5, "not numbers"),
        ([[0.0, 0.0]] * 5, "zero vector"),
        ([1.0] * 5, "no list of vectors"),
    ],
)
def test_nonsense_is_refused(service: EmbeddingService, nonsense: Any, reason: str) -> None:
    encoder = encoders(service).load("openai:m")
    service.nonsense = nonsense
    with pytest.raises((ModelError, EncodingError), match=reason):
        encoder.encode_documents(TEXTS)


def test_the_service_must_run_the_model_that_is_named(service: EmbeddingService) -> None:
    with pytest.raises(ModelError, match=r"runs the model \[minilm\], not \[other\]"):
        encoders(service).load("tei:other")


def test_without_an_address_it_says_what_to_set() -> None:
    with pytest.raises(ModelError, match="ESBLEND_ENCODER_URL"):
        Encoders(Settings(), "documents").load("openai:m")


def test_nothing_listens() -> None:
    settings = Settings(encoder_url="http://127.0.0.1:9", encoder_retries=0)
    with pytest.raises(ModelError, match="cannot be reached"):
        Encoders(settings, "documents").load("openai:m")


def test_requests_are_spread_over_time(service: EmbeddingService) -> None:
    import time

    encoder = encoders(service, encoder_batch_texts=1, encoder_requests_per_second=50).load("openai:m")
    began = time.monotonic()
    encoder.encode_documents(TEXTS)
    assert time.monotonic() - began >= 4 / 50


def test_approximate_pieces_lie_in_the_text() -> None:
    text = "Internationalization, très-bien 漢字"
    pieces = ApproximateTokens().spans(text)
    assert [text[start:end] for start, end in pieces][:6] == ["Inte", "rnat", "iona", "liza", "tion", ","]
    assert ApproximateTokens().count(text) == len(pieces)
