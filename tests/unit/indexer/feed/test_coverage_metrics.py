"""Which indices the gauges of coverage are read for."""

import asyncio
from itertools import count
from types import SimpleNamespace

import pytest
from elasticsearch import AsyncElasticsearch

from esblend.settings import Settings
from indexer.feed import metrics
from indexer.feed.checkpoints import Checkpoint
from indexer.feed.credit import Credit
from indexer.feed.index_feed import IndexFeed
from indexer.feed.metrics import CoverageMetrics
from indexer.feed.task_queue import TaskQueue
from tests.answering_server import answering_server


async def no_reports() -> None:
    """No worker reports anything."""


def test_indices_that_cannot_be_read_delay_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request takes a minute: closed indices, or an outage, would leave the gauges of all others as they are for hours."""
    minutes = count(step=60)
    monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: next(minutes)))
    settings = Settings()
    names = [f"index-{number:02}" for number in range(20)]

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url, max_retries=0) as es:
            feeds = [
                IndexFeed(
                    Checkpoint(index=name, uuid=name, generation="g1"), None, es, TaskQueue(settings), settings,
                    Credit(), no_reports,
                )
                for name in names
            ]  # fmt: skip
            coverage = CoverageMetrics(es, lambda: feeds)
            pauses = [await coverage.read_next() for _ in range(3)]
            assert set(coverage._read) == set(names)
            assert pauses == [metrics._MEASURE_SECONDS] * 3

    body = {"error": {"type": "no_shard_available_action_exception", "reason": "no"}, "status": 503}
    with answering_server(503, body) as url:
        asyncio.run(act(url))
