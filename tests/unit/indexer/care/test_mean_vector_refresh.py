"""Which indices the feed samples, and when."""

import asyncio

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.care import mean_vectors
from indexer.care.mean_vectors import STORED_FROM, MeanVectorRefresh, Sampled
from mappings.attachment import Attachment
from tests.answering_server import answering_server

ATTACHMENT = Attachment(field="esblend", source_fields=["body"], active="g1", generations={})


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The indices in the order of their samples."""
    names: list[str] = []

    async def refresh(refresh: MeanVectorRefresh, index: str, uuid: str, attachment: Attachment, writes: int) -> None:
        names.append(index)
        refresh.consider(index, uuid, "g1", ATTACHMENT, writes)  # a step of the index during its sample
        refresh._sampled[f"{uuid}-g1"] = Sampled(writes, writes)

    monkeypatch.setattr(MeanVectorRefresh, "_refresh", refresh)
    monkeypatch.setattr(Attachment, "using", lambda attachment, generation: attachment)
    return names


def test_indices_wait_for_their_sample_without_further_steps(sampled: list[str]) -> None:
    async def act() -> None:
        async with AsyncElasticsearch("http://localhost:1") as es:
            refresh = MeanVectorRefresh(es)
            for name in ("a", "b", "few", "left"):
                refresh.consider(name, name, "g1", ATTACHMENT, STORED_FROM - (name == "few"))
            refresh.leave("left-g1")
            for _ in range(4):
                refresh.start_next()
                assert refresh._work is not None
                await refresh._work

    asyncio.run(act())
    assert sampled == ["a", "b"]


def test_an_index_is_sampled_again_after_enough_writes(sampled: list[str]) -> None:
    async def act() -> None:
        async with AsyncElasticsearch("http://localhost:1") as es:
            refresh = MeanVectorRefresh(es)
            for writes in (STORED_FROM, STORED_FROM + 1, 2 * STORED_FROM):
                refresh.consider("a", "a", "g1", ATTACHMENT, writes)
                refresh.start_next()
                assert refresh._work is not None
                await refresh._work

    asyncio.run(act())
    assert sampled == ["a", "a"]


def test_samples_of_a_growing_index_take_a_small_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    samples: list[str] = []

    async def sample(_: AsyncElasticsearch, index: str, attachment: Attachment) -> None:
        samples.append(index)

    monkeypatch.setattr(mean_vectors, "sample_mean_vector", sample)
    monkeypatch.setattr(mean_vectors, "_PAUSES", float("inf"))
    monkeypatch.setattr(Attachment, "using", lambda attachment, generation: attachment)

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url) as es:
            refresh = MeanVectorRefresh(es)
            refresh._sampled["a-g1"] = Sampled(0, 0)
            for writes in (STORED_FROM, 2 * STORED_FROM, 3 * STORED_FROM):
                refresh.consider("a", "a", "g1", ATTACHMENT, writes)
                refresh.start_next()
                assert refresh._work is not None
                await refresh._work
            assert samples == ["a"]
            refresh._paused.clear()
            refresh.start_next()
            await refresh._work
            assert samples == ["a", "a"]

    with answering_server(200, {}) as url:
        asyncio.run(act(url))


@pytest.mark.parametrize(("status", "is_done"), [(503, False), (403, True)])
def test_mean_vectors_that_could_not_be_deleted_are_deleted_later(status: int, is_done: bool) -> None:
    """Unless the credentials permit no access to them."""

    async def act(url: str) -> bool:
        async with AsyncElasticsearch(url, max_retries=0) as es:
            return await MeanVectorRefresh(es).forget_others(set(), set())

    with answering_server(status, {"error": {"type": "any_exception", "reason": "any"}}) as url:
        assert asyncio.run(act(url)) == is_done
