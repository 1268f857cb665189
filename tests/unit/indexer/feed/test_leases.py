"""What a feed process concludes from the list of members and from heartbeats."""

import asyncio
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.feed.leases import (
    BEAT_SECONDS,
    DEAD_AFTER_SECONDS,
    LATE_AFTER_SECONDS,
    REST_BEAT_SECONDS,
    Leases,
)
from indexer.feed.members import MEMBERS_ID
from mappings.attachment_copies import CHECKPOINTS_INDEX
from tests.answering_server import answering_server

WRITTEN = {
    "result": "updated",
    "_seq_no": 1,
    "_primary_term": 1,
    CHECKPOINTS_INDEX: {"settings": {"index.hidden": "true"}},
}
MISSING = {"found": False}


async def looks(leases: Leases, url: str, count: int) -> None:
    async with AsyncElasticsearch(url) as es:
        leases._es = es
        for _ in range(count):
            await leases.look()


async def beats(leases: Leases, url: str, *pauses: float) -> None:
    """A heartbeat after each of these pauses, in seconds."""
    async with AsyncElasticsearch(url) as es:
        leases._es = es
        for pause in pauses:
            leases._beaten_at -= pause
            await leases.beat()


def make_leases() -> Leases:
    return Leases(AsyncElasticsearch("http://127.0.0.1:9"), "group")


def test_an_unavailable_shard_makes_nobody_look_dead() -> None:
    leases = make_leases()
    leases.watched = {"other"}
    failed: dict[str, Any] = {"error": {"type": "no_shard_available_action_exception", "reason": "any"}}
    with answering_server(200, {**WRITTEN, "docs": [failed, failed]}) as url:
        asyncio.run(looks(leases, url, 1))
    assert leases.dead == set()


@pytest.mark.parametrize(("pauses", "lapses"), [([0, 1], 0), ([0, 10], 1), ([0, 10, 1], 1)])
def test_a_late_heartbeat_counts_as_a_lapse(pauses: list[float], lapses: int) -> None:
    """The first heartbeat is not late."""
    leases = make_leases()
    with answering_server(200, WRITTEN) as url:
        asyncio.run(beats(leases, url, *pauses))
    assert leases.lapses == lapses


def test_a_process_that_was_removed_from_the_list_counts_a_lapse() -> None:
    """Its clock may have stood still meanwhile, as that of a suspended machine."""
    leases = make_leases()
    with answering_server(200, {**WRITTEN, "docs": [MISSING]}) as url:
        asyncio.run(looks(leases, url, 1))
        assert leases.lapses == 0
        asyncio.run(looks(leases, url, 1))
    assert leases.lapses == 1


def test_the_list_of_a_newer_format_causes_no_lapse() -> None:
    leases = make_leases()
    newer = {"_id": MEMBERS_ID, "found": True, "_seq_no": 1, "_primary_term": 1, "_source": {"format": 2}}
    with answering_server(200, {**WRITTEN, "docs": [newer]}) as url:
        asyncio.run(looks(leases, url, 3))
    assert leases.lapses == 0


def test_a_process_alone_without_changes_sends_fewer_heartbeats() -> None:
    leases = make_leases()
    leases._known, leases._is_look_due = {leases.me}, False
    assert leases._pause == BEAT_SECONDS
    leases.is_at_rest = True
    assert leases._pause == REST_BEAT_SECONDS <= LATE_AFTER_SECONDS - 2  # a slow answer makes it skip no round
    assert LATE_AFTER_SECONDS < DEAD_AFTER_SECONDS
    leases.watched = {"other"}
    assert leases._pause == BEAT_SECONDS


def test_an_unexpected_error_does_not_end_the_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without heartbeats the process would live on and send no task any more."""
    monkeypatch.setattr("indexer.feed.leases.BEAT_SECONDS", 0.01)
    leases = make_leases()

    async def act(url: str) -> None:
        is_second, looks = asyncio.Event(), []

        async def fail() -> None:
            looks.append("any")
            if len(looks) == 2:
                is_second.set()
            raise ValueError("the answer is not Elasticsearch's")

        monkeypatch.setattr(leases, "look", fail)
        async with AsyncElasticsearch(url) as es:
            leases._es = es
            beating, second = asyncio.create_task(leases.keep()), asyncio.create_task(is_second.wait())
            await asyncio.wait({beating, second}, return_when=asyncio.FIRST_COMPLETED)
            assert not beating.done()
            beating.cancel()

    with answering_server(200, WRITTEN) as url:
        asyncio.run(act(url))
