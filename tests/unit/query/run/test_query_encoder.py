"""Queries are embedded at once when idle, together under load, and not again when known."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from esblend.errors import EncodingError, ModelError
from esblend.settings import Settings
from mappings.attachment import Generation, ModelIdentity, PassageSettings, VectorOptions
from query.run.query_encoder import QueryEmbedder


@pytest.fixture
async def embedder() -> AsyncIterator[QueryEmbedder]:
    made = QueryEmbedder(Settings(model="minilm"))
    yield made
    made.close()


@pytest.fixture
async def generation(embedder: QueryEmbedder) -> Generation:
    encoder = await embedder.load("minilm")
    model = ModelIdentity(name=encoder.name, digest=encoder.digest, dims=encoder.dims)
    return Generation(model=model, passages=PassageSettings(), vector=VectorOptions())


async def test_many_at_once_get_the_vectors_they_would_get_alone(
    embedder: QueryEmbedder, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = await embedder.load("minilm")
    sizes: list[int] = []
    original = Encoder.encode_queries

    def counting(self: Encoder, texts: list[str], *form: Form) -> object:
        sizes.append(len(texts))
        return original(self, texts, *form)

    monkeypatch.setattr(Encoder, "encode_queries", counting)
    texts = [f"question number {n} about wings" for n in range(40)]
    vectors = await asyncio.gather(*(embedder.embed(text, generation) for text in texts))
    assert sum(sizes) == 40
    assert len(sizes) < 10
    np.testing.assert_allclose(np.stack(vectors), np.stack([encoder.encode_query(text) for text in texts]), atol=1e-6)
    asked = len(sizes)
    assert await embedder.embed(texts[0], generation) is vectors[0]
    assert len(sizes) == asked


async def test_another_file_under_the_same_name_is_refused(embedder: QueryEmbedder, generation: Generation) -> None:
    other = generation.model.model_copy(update={"digest": "0" * 64})
    with pytest.raises(ModelError, match="has other files"):
        await embedder.embed("x", generation.model_copy(update={"model": other}))


async def test_a_query_at_fault_fails_alone(
    embedder: QueryEmbedder, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Encoder.encode_queries

    def failing(self: Encoder, texts: list[str], *form: Form) -> object:
        if "poison" in texts:
            raise EncodingError("poisonous")
        return original(self, texts, *form)

    monkeypatch.setattr(Encoder, "encode_queries", failing)
    results = await asyncio.gather(
        *(embedder.embed(text, generation) for text in ("a", "poison", "b")), return_exceptions=True
    )
    assert [isinstance(result, EncodingError) for result in results] == [False, True, False]
