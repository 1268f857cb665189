"""A live change waits for a portion of a backfill's task, not for the whole task, and its vector is visible at once."""

from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from elasticsearch import Elasticsearch
from redis import Redis

from esblend.broker import Lane, RangeTask, queue_name
from esblend.elasticsearch_connection import connect
from esblend.encoder.registry import Encoders
from esblend.settings import Settings
from tests.conftest import Stack
from tests.packaged_encoder import packaged_encoder
from workers.documents import Target, target_in
from workers.embed import WorkerContext, embed
from workers.refresh_pace import RefreshPace

OTHER_DATABASE = 5
"""In which no worker takes messages away."""


class OneEncoder:
    def matching(self, *_: Any) -> Any:
        return packaged_encoder()


@pytest.fixture
def context(stack: Stack) -> Iterator[WorkerContext]:
    url = urlsplit(stack.described["redis"])._replace(path=f"/{OTHER_DATABASE}").geturl()
    with Redis.from_url(url) as redis, connect(Settings(es_url=stack.described["elasticsearch"])) as es:
        redis.flushdb()
        yield WorkerContext(es, redis, cast(Encoders, OneEncoder()), lambda *_: None)
        redis.flushdb()


@pytest.fixture
def task(stack: Stack, make_index: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> RangeTask:
    """All 90 changes of an index that no feed follows: it has the mapping of an attached one, and not its `_meta`."""
    documents = ({"body": f"text {number} " + "of many words " * 20} for number in range(90))
    index = make_index(*documents, number_of_shards=1)
    template = f"{index}-template"
    stack.es.indices.create(index=template, mappings={"properties": {"body": {"type": "text"}}})
    stack.attach(template, "body")
    mappings = stack.es.indices.get_mapping(index=template)[template]["mappings"]
    stack.es.indices.delete(index=template)
    stack.es.indices.put_mapping(index=index, properties={"esblend": mappings["properties"]["esblend"]})

    def target_of(es: Elasticsearch, task: RangeTask) -> Target | None:
        body = es.indices.get(index=task.index).body[task.index]
        return target_in({**body, "mappings": {**body["mappings"], "_meta": mappings["_meta"]}}, task)

    monkeypatch.setattr("workers.embed.find_target", target_of)
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    return RangeTask(index=index, uuid=uuid, generation="g1", shard=0, after=-1, until=89, max_documents=90)


def test_a_backfill_stops_for_a_live_task_and_goes_on_where_it_stopped(context: WorkerContext, task: RangeTask) -> None:
    context.redis.rpush(queue_name("live"), "a message")
    first = embed(task, context, lane="backfill")
    assert first.until is not None
    assert 0 <= first.until < 89
    assert first.written == first.documents == first.until + 1
    context.redis.delete(queue_name("live"))
    rest = embed(task.model_copy(update={"after": first.until}), context, lane="backfill")
    assert (rest.until, first.written + rest.written) == (89, 90)


@pytest.mark.parametrize(("lane", "is_whole"), [("backfill", False), ("live", True)])
def test_a_backfills_task_that_takes_long_stops_after_a_portion(
    context: WorkerContext, task: RangeTask, monkeypatch: pytest.MonkeyPatch, lane: Lane, is_whole: bool
) -> None:
    monkeypatch.setattr("workers.embed._LONG_SECONDS", 0.0)
    result = embed(task, context, lane=lane)
    assert result.until is not None
    assert (result.until == 89) is is_whole
    assert result.written == result.until + 1


def test_a_live_task_goes_on_however_many_wait(context: WorkerContext, task: RangeTask) -> None:
    context.redis.rpush(queue_name("live"), "a message")
    assert embed(task, context, lane="live").until == 89


@pytest.mark.parametrize(("interval", "is_visible"), [(None, True), ("-1", False), ("1h", False)])
def test_live_vectors_are_visible_at_once_unless_the_user_wants_fewer_refreshes(
    stack: Stack, context: WorkerContext, task: RangeTask, interval: str | None, is_visible: bool
) -> None:
    stack.es.indices.put_settings(index=task.index, settings={"refresh_interval": interval})
    assert embed(task.model_copy(update={"until": 0}), context, lane="live").written == 1
    vectors = {"nested": {"path": "esblend.g1.passages", "query": {"exists": {"field": "esblend.g1.passages.vector"}}}}
    assert (stack.es.count(index=task.index, query=vectors)["count"] == 1) is is_visible


def test_live_vectors_force_no_refresh_while_more_changes_wait(
    context: WorkerContext, task: RangeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.redis.rpush(queue_name("live"), "a message")
    embed(task.model_copy(update={"until": 0}), context, lane="live")
    context.redis.delete(queue_name("live"))
    monkeypatch.setattr("workers.embed._FEW_CHANGES", 10)
    embed(task.model_copy(update={"after": 0}), context, lane="live")
    assert context.refreshes == RefreshPace()
