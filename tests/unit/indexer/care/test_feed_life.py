"""A dead feed takes five seconds to notice, but only once. A feed that stopped is succeeded by any member that works."""

import asyncio
import logging
import time
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.care import feed_life
from indexer.care.feed_life import FeedLife, Heartbeat, SeenHeartbeats, read_feed_life
from indexer.feed.leases import Outage
from tests.answering_server import answering_server


def life(url: str, seen: SeenHeartbeats | None = None) -> FeedLife | None:
    """The life of the feed a."""

    async def read() -> FeedLife | None:
        async with AsyncElasticsearch(url) as es:
            return await read_feed_life(es, "a", seen)

    return asyncio.run(read())


def heartbeat(id_: str, **fields: Any) -> dict[str, Any]:
    source = {"beat": 7, "at": 1e9, **fields}
    document = {"found": True, "_seq_no": 1, "_primary_term": 1, "_source": source}
    return {"_index": "esblend-checkpoints", "_id": f"feed-{id_}", **document}


def test_a_dead_feed_is_watched_for_five_seconds_only_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The status of each index of a killed feed took five seconds."""
    seen = SeenHeartbeats()

    def requests(url: str) -> int:
        caplog.clear()
        assert life(url, seen) == FeedLife(is_alive=False, seen_at=1e9)
        return sum(record.name == "elastic_transport.transport" for record in caplog.records)

    with (
        answering_server(200, {"docs": [heartbeat("a")]}) as url,
        caplog.at_level(logging.INFO, "elastic_transport.transport"),
    ):
        monkeypatch.setattr(feed_life, "BEAT_SECONDS", 0.001)
        assert requests(url) == 7
        assert requests(url) == 2


def test_a_feed_that_fails_says_why() -> None:
    outage = {"reason": "ConnectionError: refused", "since": 5.0}
    with answering_server(200, {"docs": [heartbeat("a", at=time.time(), outage=outage)]}) as url:
        assert life(url) == FeedLife(is_alive=True, outage=Outage("ConnectionError: refused", 5.0))


@pytest.mark.parametrize(
    ("fields", "has_successor"), [({}, True), ({"outage": {"reason": "any", "since": 5.0}}, False)]
)
def test_a_feed_that_stopped_is_succeeded_by_one_that_works(fields: dict[str, Any], has_successor: bool) -> None:
    """Its own heartbeat is deleted, and the list of members has the other one."""
    members = {"found": True, "_seq_no": 1, "_primary_term": 1, "_source": {"feeds": [{"id": "b", "group": "any"}]}}
    other = heartbeat("b", at=time.time(), **fields)
    with answering_server(200, {"docs": [{**members, "_id": "feeds", "found": False}]}) as url:
        assert life(url) == FeedLife(is_alive=False)

    class Client(AsyncElasticsearch):
        async def mget(self, *, ids: list[str], **_: Any) -> Any:  # type: ignore[override]
            documents = {"feeds": members, "feed-b": other}
            return {"docs": [documents.get(id_, {"_id": id_, "found": False}) for id_ in ids]}

    async def read() -> FeedLife | None:
        async with Client("http://127.0.0.1:9") as es:
            return await read_feed_life(es, "a")

    assert asyncio.run(read()) == FeedLife(is_alive=False, has_successor=has_successor)


def test_a_counter_that_has_changed_is_not_still(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = SeenHeartbeats()
    assert not seen.are_still({"feed-a": Heartbeat(7, 1e9)}), "it may change within the next seconds"
    monkeypatch.setattr(feed_life, "BEAT_SECONDS", 0.0)
    assert seen.are_still({"feed-a": Heartbeat(7, 1e9)})
    monkeypatch.undo()
    assert not seen.are_still({"feed-a": Heartbeat(8, 1e9)})
    assert not seen.are_still({"feed-b": Heartbeat(7, 1e9)})
    assert seen.are_still({}), "a feed that stopped cleanly has no heartbeat"
