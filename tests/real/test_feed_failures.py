"""Lost tasks, sick indices, deleted bookkeeping: the feed recovers, and one index does not delay another."""

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from elasticsearch import ApiError
from redis import Redis

from esblend.local.ports import FreePorts
from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, kill, pids, process, revive, vectors_by_id, wait_for
from tests.real.test_brokers import rabbitmq

LONG = "A long text keeps a worker busy for a while. " * 60


def create(stack: Stack, index: str, **settings: Any) -> str:
    mapping = {"properties": {"body": {"type": "text"}}}
    stack.es.indices.create(index=index, mappings=mapping, settings={"number_of_replicas": 0, **settings})
    return index


def fill(stack: Stack, index: str, count: int, text: str) -> None:
    operations: list[dict[str, Any]] = []
    for number in range(count):
        operations += [{"index": {"_id": str(number)}}, {"body": f"Document {number}. {text}"}]
    assert not stack.es.bulk(index=index, operations=operations, refresh=True)["errors"]


def status(stack: Stack, index: str) -> dict[str, Any]:
    return stack.call("GET", f"/_esblend/indices/{index}/status")


@pytest.fixture
def index(fault_stack: Stack, index_name: str) -> Iterator[str]:
    """An attached index without documents."""
    create(fault_stack, index_name)
    fault_stack.attach(index_name, "body")
    yield index_name
    for name in fault_stack.es.indices.get(index=f"{index_name}*", expand_wildcards="all"):
        fault_stack.es.indices.delete(index=name)


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_a_killed_workers_live_change_does_not_wait_for_the_backfill(
    fault_stack: Stack, index: str, tmp_path: Path, broker: str
) -> None:
    """The worker is frozen before it gets the task, so that it surely holds it when it is killed."""
    stack = fault_stack
    kill(stack, "feed", "worker")
    big = create(stack, f"{index}-big")
    fill(stack, big, 2_000, LONG)
    stack.attach(big, "body")
    stack.call("POST", f"/_esblend/indices/{big}/backfill", {"paused": True})
    redis = Redis.from_url(stack.described["redis"])
    redis.flushall()
    environment = {"ESBLEND_EMBEDDING_CACHE_MB": "0"}  # cached vectors would end the backfill within seconds
    with rabbitmq(tmp_path) if broker == "rabbitmq" else nullcontext("") as url:
        if url:
            environment["ESBLEND_BROKER_URL"] = url
        with (
            process(stack, "esblend", "feed", place=tmp_path, **environment),
            process(stack, "esblend", "worker", place=tmp_path, **environment) as first,
        ):
            [child] = children(first.pid)
            os.kill(child, signal.SIGSTOP)
            stack.es.index(index=index, id="live", document={"body": "This change must not wait."})
            wait_for("the worker to hold the task", lambda: list(redis.scan_iter("esblend:held:*")))
            stack.call("POST", f"/_esblend/indices/{big}/backfill", {"paused": False})
            os.kill(first.pid, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            with process(stack, "esblend", "worker", place=tmp_path, **environment):
                wait_for("the live vector", lambda: vector_of(stack, index, "live"))
                assert status(stack, big)["backfill"]["remaining"] > 0
                stack.es.indices.delete(index=big)
    redis.close()
    revive(stack)


def vector_of(stack: Stack, index: str, id_: str) -> list[Any]:
    stack.es.indices.refresh(index=index)
    return vectors_by_id(stack, index).get(id_, ("", []))[1]


def children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children()]


def test_a_sick_index_does_not_delay_the_others(fault_stack: Stack, index: str) -> None:
    """One shard of the sick index has no node: Elasticsearch answers its refresh after a minute. Another index is closed."""
    stack = fault_stack
    es = stack.es.options(request_timeout=120)
    settings = {"number_of_shards": 2, "index.routing.allocation.total_shards_per_node": 1}
    mapping = {"properties": {"body": {"type": "text"}}}
    sick = f"{index}-sick"
    settings["number_of_replicas"] = 0
    es.indices.create(index=sick, mappings=mapping, settings=settings, wait_for_active_shards="0")
    stack.attach(sick, "body")
    closed = create(stack, f"{index}-closed")
    stack.attach(closed, "body")
    stack.es.indices.close(index=closed)
    for number in range(4):
        with suppress(ApiError):  # those of the shard without a node
            es.index(index=sick, id=str(number), document={"body": "text"}, timeout="1s")
    for turn in range(3):
        stack.es.index(index=index, id="0", document={"body": f"text of turn {turn}"})
        wait_for("the vector", lambda: vector_of(stack, index, "0"), seconds=45)
    stack.es.indices.delete(index=sick)
    assert_vectors_of_present_texts(stack, index, 1)


def test_a_damaged_checkpoint_is_replaced(fault_stack: Stack, index: str) -> None:
    stack = fault_stack
    fill(stack, index, 5, "text")
    stack.wait(index)
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    kill(stack, "feed")
    stack.es.index(index="esblend-checkpoints", id=f"{uuid}-g1", document={"uuid": uuid, "index": index, "shards": 7})
    fill(stack, index, 8, "another text")
    revive(stack)
    assert_vectors_of_present_texts(stack, index, 8)


def test_a_deleted_checkpoints_index_is_made_as_meant(fault_stack: Stack, index: str) -> None:
    stack = fault_stack
    fill(stack, index, 5, "text")
    stack.wait(index)
    kill(stack, "feed")
    stack.es.indices.delete(index="esblend-checkpoints")
    # As a feed's write does it between the deletion and its next look; another feed may have written there as well.
    stack.es.index(index="esblend-checkpoints", id="feed-other", document={"format": 1, "beat": 7}, refresh=True)
    revive(stack)

    def settings() -> dict[str, Any]:
        response = stack.es.options(ignore_status=404).indices.get(index="esblend-checkpoints")
        return dict(response.body.get("esblend-checkpoints", {}))

    wait_for("the index", lambda: settings().get("settings", {}).get("index", {}).get("hidden") == "true")
    fill(stack, index, 8, "another text")
    assert_vectors_of_present_texts(stack, index, 8)
    made = settings()
    assert made["mappings"]["dynamic"] == "false"
    stack.es.indices.refresh(index="esblend-checkpoints")
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    query = {"term": {"uuid": uuid}}
    assert stack.es.count(index="esblend-checkpoints", query=query)["count"] == 1, made["mappings"]
    assert stack.es.get(index="esblend-checkpoints", id="feed-other")["_source"]["beat"] == 7
    assert stack.es.cluster.health(index="esblend-checkpoints")["status"] == "green"


def test_liveness_fails_when_the_loop_is_stuck(fault_stack: Stack, tmp_path: Path) -> None:
    with FreePorts() as ports:
        port = ports.choose(0)
    environment = {"ESBLEND_METRICS_PORT": str(port)}

    def live() -> int:
        try:
            with urlopen(f"http://127.0.0.1:{port}/live") as response:
                return int(response.status)
        except HTTPError as error:
            return error.code

    with process(fault_stack, "tests.real.stuck_feed", place=tmp_path, **environment):
        assert live() == 200
        wait_for("the stuck loop to show", lambda: live() == 503)


def test_the_worker_of_the_stack_is_known(fault_stack: Stack, index: str) -> None:
    fill(fault_stack, index, 2, "text")
    fault_stack.wait(index)
    with Redis.from_url(fault_stack.described["redis"]) as redis:
        assert list(redis.scan_iter("esblend:worker:*"))
        assert pids(fault_stack, "worker")
