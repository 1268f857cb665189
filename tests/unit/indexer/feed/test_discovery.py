"""When the mappings are read again."""

import asyncio

import pytest
from elasticsearch import AsyncElasticsearch

from esblend.settings import Settings
from indexer.feed.discovery import Discovery
from indexer.feed.task_queue import TaskQueue
from mappings.attachment_survey import AttachmentSurvey, Survey
from tests.answering_server import answering_server


def test_after_an_error_the_mappings_are_read_again_in_the_same_cluster_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of this process's share would have no feed until the next change."""
    failures = [OSError("any")]

    async def read(_: AttachmentSurvey) -> Survey:
        if failures:
            raise failures.pop()
        return Survey({}, frozenset())

    monkeypatch.setattr(AttachmentSurvey, "read", read)

    async def act(url: str) -> list[bool]:
        async with AsyncElasticsearch(url) as es:
            discovery = Discovery(es, TaskQueue(Settings()))
            with pytest.raises(OSError, match="any"):
                await discovery.look()
            return [await discovery.look() for _ in range(2)]

    shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
    with answering_server(200, {"state_uuid": "s", "hits": {"hits": []}, "_shards": shards}) as url:
        assert asyncio.run(act(url)) == [True, False]


def test_without_the_version_of_the_metadata_each_look_reads_the_cluster_state(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(_: AttachmentSurvey) -> Survey:
        return Survey({}, frozenset())

    monkeypatch.setattr(AttachmentSurvey, "read", read)
    monkeypatch.setattr("indexer.feed.discovery._CALM_SECONDS", 0)

    async def act(url: str) -> list[bool]:
        async with AsyncElasticsearch(url) as es:
            discovery = Discovery(es, TaskQueue(Settings()))
            looks = [await discovery.look(is_at_rest=True) for _ in range(3)]
            assert not discovery._metadata.is_waiting
            assert not discovery._metadata._is_usable
            return looks

    shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
    with answering_server(200, {"state_uuid": "s", "hits": {"hits": []}, "_shards": shards}) as url:
        assert asyncio.run(act(url)) == [True, False, False]
