"""Models behind an HTTP service, against a real one on this machine."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from esblend.encoder import http_model
from esblend.encoder.registry import Encoders
from esblend.encoder.service_tokens import ApproximateTokens, ServiceTokens
from esblend.errors import EncodingError, ModelError
from esblend.settings import Settings
from mappings.attachment import PassageSettings
from mappings.passages import split
from mappings.source import SourceText
from tests.embedding_service import EmbeddingService, embedding_service
from tests.packaged_encoder import packaged_encoder

TEXTS = [f"text number {n}" for n in range(5)]


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddingService]:
    with embedding_service() as service:
        yield service


@pytest.fixture
def service(running: EmbeddingService) -> EmbeddingService:
    for name, value in vars(EmbeddingService(url=running.url)).items():
        setattr(running, name, value)
    return running


def encoders(service: EmbeddingService, **settings: Any) -> Encoders:
    return Encoders(Settings(encoder_url=service.url, **settings), "documents")


@pytest.mark.parametrize("name", ["openai:any-model", "tei:minilm"])
def test_its_vectors_come_in_order_and_batches(service: EmbeddingService, name: str) -> None:
    encoder = encoders(service, encoder_batch_texts=2, encoder_api_key=SecretStr("key")).load(name)
    service.batches.clear()
    vectors = encoder.encode_documents(TEXTS)
    np.testing.assert_allclose(vectors, packaged_encoder().encode_documents(TEXTS), atol=1e-5)
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


def test_a_long_retry_after_is_not_obeyed_to_the_end(
    service: EmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_model, "_MAX_RETRY_AFTER_SECONDS", 0.01)
    encoder = encoders(service).load("openai:m")
    service.retry_after, service.refusals = "86400", [429, 503]
    assert encoder.encode_documents(TEXTS).shape == (5, 384)
    assert not service.refusals


def test_another_model_behind_the_same_address_is_noticed(
    service: EmbeddingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = encoders(service).load("openai:m")
    assert encoders(service).matching("openai:m", before.digest, before.probe).probe == pytest.approx(before.probe)
    service.is_another_model = True
    with pytest.raises(ModelError, match="runs another model now"):
        encoders(service).matching("openai:m", before.digest, before.probe)
    before.encode_documents(TEXTS)
    monkeypatch.setattr(http_model, "_PROBE_AGAIN_SECONDS", 0.0)
    with pytest.raises(ModelError, match="gives other vectors than before"):
        before.encode_documents(TEXTS)


@pytest.mark.parametrize("counts_bytes", [False, True])
@pytest.mark.parametrize(
    "text", ["plain words", "très-bien, 漢字 naïve", "漢字かな交じり文。 ", "emoji 🚀 and more\n\n", "", "   "]
)
def test_pieces_of_the_services_own_tokenizer(service: EmbeddingService, text: str, counts_bytes: bool) -> None:
    service.counts_bytes = counts_bytes
    tokenizer = encoders(service).load("tei:minilm").tokenizer
    assert isinstance(tokenizer, ServiceTokens)
    assert tokenizer.special_tokens == 2
    assert tokenizer.spans(text) == packaged_encoder().tokenizer.spans(text)


def test_without_a_tokenizer_of_the_service_pieces_are_estimated(service: EmbeddingService) -> None:
    service.has_tokenizer = False
    assert isinstance(encoders(service).load("tei:minilm").tokenizer, ApproximateTokens)


@pytest.mark.parametrize(
    "text", ["漢字かな交じり文を数える。", "他们在深海里唱歌。", "English words, and more.", "ภาษาไทย"]
)
def test_an_estimate_is_not_below_the_models_count(text: str) -> None:
    assert ApproximateTokens().count(text) >= packaged_encoder().tokenizer.count(text)


def test_long_chinese_documents_fit_the_service(service: EmbeddingService) -> None:
    """With four ideographs in a piece, passages were four times too long and every document was refused."""
    service.has_tokenizer = False
    encoder = encoders(service).load("tei:minilm")
    text = "他们在深海里唱歌，夜里也能听见。" * 200
    passages = split(SourceText(text, ""), encoder.tokenizer, PassageSettings(max_tokens=encoder.model.max_tokens))
    real = packaged_encoder().tokenizer
    assert max(real.count(passage.text) + real.special_tokens for passage in passages) <= 256


def test_a_text_that_another_thread_evicts_keeps_its_word_pieces() -> None:
    """Without word pieces its document would count as one without text."""
    tokenizer = ServiceTokens(lambda text, _: [{"start": 0, "stop": len(text)}])

    class Text(str):
        """Whenever it is looked up, another thread has just looked up many others."""

        __slots__ = ()

        def __hash__(self) -> int:
            if tokenizer_is_busy:
                evict()
            return str.__hash__(self)

    def evict() -> None:
        others = threading.Thread(target=lambda: [tokenizer.spans(f"text {number}") for number in range(100)])
        others.start()
        others.join(60)

    tokenizer_is_busy = False
    text = Text("a title")
    assert tokenizer.spans(text) == [(0, 7)]
    tokenizer_is_busy = True
    assert tokenizer.spans(text) == [(0, 7)]
