"""A dead feed takes five seconds to notice, but only once."""

import asyncio
import logging

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.care import feed_life
from indexer.care.feed_life import FeedLife, Heartbeat, SeenHeartbeats, read_feed_life
from tests.answering_server import answering_server


def test_a_dead_feed_is_watched_for_five_seconds_only_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The status of each index of a killed feed took five seconds."""
    heartbeat = {"_index": "esblend-checkpoints", "_id": "feed-a", "found": True, "_source": {"beat": 7, "at": 1e9}}
    seen = SeenHeartbeats()

    async def requests(url: str) -> int:
        caplog.clear()
        async with AsyncElasticsearch(url) as es:
            assert await read_feed_life(es, "a", seen) == FeedLife(is_alive=False, seen_at=1e9)
        return sum(record.name == "elastic_transport.transport" for record in caplog.records)

    with answering_server(200, heartbeat) as url, caplog.at_level(logging.INFO, "elastic_transport.transport"):
        monkeypatch.setattr(feed_life, "BEAT_SECONDS", 0.001)
        assert asyncio.run(requests(url)) == 6
        assert asyncio.run(requests(url)) == 1


def test_a_counter_that_has_changed_is_not_still(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = SeenHeartbeats()
    assert not seen.are_still({"feed-a": Heartbeat(7, 1e9)}), "it may change within the next seconds"
    monkeypatch.setattr(feed_life, "BEAT_SECONDS", 0.0)
    assert seen.are_still({"feed-a": Heartbeat(7, 1e9)})
    monkeypatch.undo()
    assert not seen.are_still({"feed-a": Heartbeat(8, 1e9)})
    assert not seen.are_still({"feed-b": Heartbeat(7, 1e9)})
    assert seen.are_still({}), "a feed that stopped cleanly has no heartbeat"
