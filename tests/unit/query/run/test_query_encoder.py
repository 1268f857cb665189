"""Queries are embedded at once when idle, together under load, and not again when known."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from esblend.errors import EncodingError, InvalidRequest, ModelError, TooManyRequests
from esblend.settings import Settings
from mappings.attachment import Generation, ModelIdentity, PassageSettings, VectorOptions
from query.run.query_encoder import MAX_BATCH, QueryEmbedder


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


async def test_equal_texts_in_flight_are_embedded_once(
    embedder: QueryEmbedder, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = recorded(monkeypatch)
    vectors = await asyncio.gather(*(embedder.embed("the same question", generation) for _ in range(20)))
    assert embedded == ["the same question"]
    assert all(vector is vectors[0] for vector in vectors)


async def test_texts_whose_callers_left_are_not_embedded(
    embedder: QueryEmbedder, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = recorded(monkeypatch)
    release = threading.Event()
    embedder._compute.submit(release.wait)
    first = asyncio.create_task(embedder.embed("in the batch that waits", generation))
    await until(lambda: embedder._computing)  # the first text is a batch; what follows waits behind it
    leaving = [asyncio.create_task(embedder.embed(f"nobody waits for {n}", generation)) for n in range(50)]
    stays = asyncio.create_task(embedder.embed("somebody waits", generation))
    shared = [asyncio.create_task(embedder.embed("one of two leaves", generation)) for _ in range(2)]
    await until(lambda: len(embedder._waiting) == 52)
    for task in (*leaving, shared[0]):
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    release.set()
    await asyncio.gather(first, stays, shared[1])
    assert sorted(embedded) == ["in the batch that waits", "one of two leaves", "somebody waits"]


async def test_a_queue_longer_than_the_budget_refuses_at_once(embedder: QueryEmbedder, generation: Generation) -> None:
    release = threading.Event()
    embedder._compute.submit(release.wait)
    embedder._seconds_per_text = 1.0  # as after batches of a slow model; the budget is 5 s
    tasks = [asyncio.create_task(embedder.embed(f"question {n}", generation)) for n in range(100)]
    try:
        await until(lambda: sum(task.done() for task in tasks) == 100 - MAX_BATCH)
    finally:
        release.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, TooManyRequests) for outcome in outcomes) == 100 - MAX_BATCH
    assert sum(isinstance(outcome, np.ndarray) for outcome in outcomes) == MAX_BATCH


async def test_a_text_that_is_too_long_is_refused(embedder: QueryEmbedder, generation: Generation) -> None:
    with pytest.raises(InvalidRequest, match="at most 100000"):
        await embedder.embed("x" * 100_001, generation)


async def until(holds: Callable[[], object]) -> None:
    """Let the other tasks of the loop run until something holds."""
    for _ in range(10_000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come about")


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the model reads from now on."""
    embedded: list[str] = []
    original = Encoder.encode_queries

    def recording(self: Encoder, texts: list[str], *form: Form) -> object:
        embedded.extend(texts)
        return original(self, texts, *form)

    monkeypatch.setattr(Encoder, "encode_queries", recording)
    return embedded
