"""Texts that the encoder fails on, and that end its process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import pytest
from redis import Redis

from esblend.encoder.encoder import Encoder
from esblend.encoder.http_model import openai_model, tei_model
from esblend.encoder.service_tokens import ApproximateTokens
from esblend.errors import ModelError
from esblend.settings import Settings
from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.source import SourceText
from tests.embedding_service import embedding_service
from workers.attempts import Attempts
from workers.documents import Document, Target
from workers.encoding import Encoding, Vectors, forget_given_up

GENERATION = Generation(
    model=ModelIdentity(name="m", digest="d", dims=3), passages=PassageSettings(), vector=VectorOptions()
)
ATTACHMENT = Attachment(field="esblend", source_fields=["body"], active="g1", generations={"g1": GENERATION})
TARGET = Target("index", "uuid", ATTACHMENT, "g1", 10_000, 10_000)
NOBODY_LISTENS = "127.0.0.1:9"


def document(id_: str, text: str) -> Document:
    return Document(id_, None, 1, 1, 1, SourceText(text, ""), "f", None, None, 0)


def test_a_service_that_is_unavailable_gets_one_request_and_no_search_for_poison() -> None:
    calls: list[int] = []
    with embedding_service() as service:
        encoder = Encoder(openai_model("any", Settings(encoder_url=service.url, encoder_retries=0)))
        service.refusals = [503] * 200

        def encode(texts: list[str]) -> Vectors:
            calls.append(len(texts))
            return encoder.encode_documents(texts)

        documents = [document(str(number), f"text {number}") for number in range(64)]
        attempts = Attempts(Redis.from_url(f"redis://{NOBODY_LISTENS}"), "scope")
        with pytest.raises(ModelError, match="503"):
            Encoding(TARGET, encoder, encode, attempts).run(documents)
    assert calls == [64]


def test_a_service_that_cannot_tokenise_makes_no_dead_letters() -> None:
    with embedding_service() as service:
        encoder = Encoder(tei_model("minilm", Settings(encoder_url=service.url, encoder_retries=0)))
        service.has_tokenizer = False
        attempts = Attempts(Redis.from_url(f"redis://{NOBODY_LISTENS}"), "scope")
        with pytest.raises(ModelError, match="status 404"):
            Encoding(TARGET, encoder, encoder.encode_documents, attempts).run([document("1", "a text")])


class Death(BaseException):
    """The end of the process."""


class CountedAttempts(Attempts):
    """Attempts that are counted here instead of in Redis. A death leaves its counters behind."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count(self, documents: Sequence[str]) -> list[int]:
        return [self.counts.get(document, 0) for document in documents]

    @contextmanager
    def started(self, documents: Sequence[str]) -> Iterator[None]:
        self.counts |= {document: self.counts.get(document, 0) + 1 for document in documents}
        yield
        self.forget(documents)

    def forget(self, documents: Sequence[str]) -> None:
        for document in documents:
            self.counts.pop(document, None)


class EncoderWithTokens:
    tokenizer = ApproximateTokens()


def encode_or_die(texts: list[str]) -> Vectors:
    if any("deadly" in text for text in texts):
        raise Death
    return np.ones((len(texts), 3), dtype=np.float32)


def test_several_documents_that_kill_their_process_are_all_given_up() -> None:
    """The letter of one must not be forgotten because another one kills the process before it is written."""
    documents = [document(str(number), f"text {number}") for number in range(20)]
    documents += [document(f"deadly {number}", "a deadly text") for number in range(3)]
    attempts, deaths = CountedAttempts(), 0
    encoding = Encoding(TARGET, cast(Encoder, EncoderWithTokens()), encode_or_die, attempts)
    while True:
        try:
            embedded, failed = encoding.run(documents)
            break
        except Death:
            deaths += 1
            assert deaths < 100
    assert {(failure.document.id, failure.attempts) for failure in failed} == {(f"deadly {n}", 4) for n in range(3)}
    assert len(embedded) == 20
    assert deaths == 8
    forget_given_up(attempts, failed)
    assert attempts.counts == {}
