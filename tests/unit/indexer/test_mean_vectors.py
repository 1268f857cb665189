"""When the mean vector of an index is sampled again."""

import asyncio

import pytest
from elasticsearch import AsyncElasticsearch
from structlog.testing import capture_logs

from indexer.care.mean_vectors import MeanVectorRefresh, Sampled
from tests.unit.mappings.test_attachment import attachment


@pytest.mark.parametrize(
    ("last", "writes", "due"),
    [
        (Sampled(writes=100, documents=60), 139, False),
        (Sampled(writes=100, documents=60), 140, True),  # may have 100 documents now
        (Sampled(writes=200, documents=100), 299, False),
        (Sampled(writes=200, documents=100), 300, True),
        (Sampled(writes=2_000_000, documents=1_000_000), 2_249_999, False),
        (Sampled(writes=2_000_000, documents=1_000_000), 2_250_000, True),  # a quarter was written: grown or drifted
        (Sampled(writes=5_000, documents=1_000), 4_000, True),  # a snapshot was restored
    ],
)
def test_a_sample_is_due_after_enough_writes(last: Sampled, writes: int, *, due: bool) -> None:
    assert last.is_due(writes) is due


def test_an_index_whose_sample_fails_does_not_keep_the_others_from_theirs() -> None:
    async def consider(*indices: str) -> None:
        async with AsyncElasticsearch("http://127.0.0.1:1", max_retries=0) as es:
            refresh = MeanVectorRefresh(es)
            for index in indices:
                refresh.consider(index, index, "g1", attachment(), 1000)
                refresh.start_next()
                await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    with capture_logs() as logs:
        asyncio.run(consider("a", "a", "b"))
    assert [entry["index"] for entry in logs if entry["event"] == "mean vector not refreshed"] == ["a", "b"]
