"""An encoder that fails on every text is not searched for the text that it fails on."""

import pytest
from redis import Redis

from esblend.encoder.encoder import Encoder
from esblend.encoder.http_model import openai_model, tei_model
from esblend.errors import ModelError
from esblend.settings import Settings
from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.source import SourceText
from tests.embedding_service import embedding_service
from workers.attempts import Attempts
from workers.documents import Document, Target
from workers.encoding import Encoding, Vectors

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
            Encoding(TARGET, encoder, encoder.encode_documents, attempts).run([document("1", "a long text " * 100)])
