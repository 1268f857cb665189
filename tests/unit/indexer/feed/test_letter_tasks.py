"""When a feed looks for operators' requests on dead letters."""

import asyncio
from typing import Any

import pytest
from elasticsearch import ApiError, AsyncElasticsearch

from esblend.settings import Settings
from indexer.feed.discovery import Discovery
from indexer.feed.letter_tasks import LetterTasks
from indexer.feed.task_queue import TaskQueue
from tests.answering_server import answering_server

NONE: dict[str, Any] = {"hits": {"hits": []}}
REQUEST = {
    "_id": "letter", "sort": [1],
    "_source": {"id": "a", "action": "retry", "index": "articles", "uuid": "u", "generation": "g1"},
}  # fmt: skip
FAILURE = {"error": {"type": "no_shard_available_action_exception", "reason": "no"}}


def letters_after(body: dict[str, Any], clock: list[float], status: int = 200) -> LetterTasks:
    """After a first look that got this answer, for counters that have not changed for long."""

    async def act(url: str) -> LetterTasks:
        async with AsyncElasticsearch(url, max_retries=0) as es:
            queue = TaskQueue(Settings())
            letters = LetterTasks(es, queue, Discovery(es, queue))
            assert letters.is_due({"index_total": 1})
            clock[0] += 60
            assert letters.is_due({"index_total": 1})  # nothing has been read yet
            try:
                await letters.send({})
            except ApiError:
                assert status >= 400
            return letters

    with answering_server(status, body) as url:
        return asyncio.run(act(url))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("indexer.feed.letter_tasks.time.monotonic", lambda: now[0])
    return now


def test_without_requests_nothing_is_read_until_the_counters_change(clock: list[float]) -> None:
    letters = letters_after(NONE, clock)
    assert not letters.is_due({"index_total": 1})
    assert letters.is_due({"index_total": 2})
    clock[0] += 5
    assert letters.is_due({"index_total": 2})  # a search may not see the request yet
    clock[0] += 10
    assert not letters.is_due({"index_total": 2})


def test_a_failure_is_repeated(clock: list[float]) -> None:
    assert letters_after(FAILURE, clock, status=503).is_due({"index_total": 1})


def test_unknown_counters_cost_a_search_now_and_then(clock: list[float]) -> None:
    letters = letters_after(NONE, clock)
    assert letters.is_due(None)
    clock[0] += 10
    assert letters.is_due(None)


def test_requests_that_are_not_done_are_read_again(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_orphan(*_: Any) -> bool:
        return False

    monkeypatch.setattr(LetterTasks, "_is_orphan", is_orphan)
    assert letters_after({"hits": {"hits": [REQUEST]}}, clock).is_due({"index_total": 1})
