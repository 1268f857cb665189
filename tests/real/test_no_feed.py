"""While no feed runs, status and doctor say so, and no lag of 0 is claimed."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.care.feed_life import FeedLife, read_feed_life
from tests.conftest import Stack
from tests.real.faults import kill, revive, wait_for

CHECKPOINTS = "esblend-checkpoints"


@pytest.fixture
def index(fault_stack: Stack, index_name: str) -> Iterator[str]:
    fault_stack.es.indices.create(index=index_name, mappings={"properties": {"body": {"type": "text"}}})
    fault_stack.attach(index_name, "body")
    fault_stack.es.index(index=index_name, id="0", document={"body": "Whales sing."})
    fault_stack.wait(index_name)
    yield index_name
    revive(fault_stack)
    fault_stack.es.indices.delete(index=[index_name, f"{index_name}-late"], ignore_unavailable=True)


def status(stack: Stack, index: str) -> dict[str, Any]:
    return stack.call("GET", f"/_esblend/indices/{index}/status")


def owner_of(stack: Stack, index: str) -> str:
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    return str(stack.es.get(index=CHECKPOINTS, id=f"{uuid}-g1")["_source"]["owner"])


def life_of(stack: Stack, owner: str | None) -> FeedLife:
    async def read() -> FeedLife | None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            return await read_feed_life(es, owner)

    life = asyncio.run(read())
    assert life is not None
    return life


def doctor(stack: Stack) -> list[dict[str, str]]:
    checks: list[dict[str, str]] = json.loads(stack.esblend("doctor", "--json").stdout)
    return checks


def test_a_killed_feed_leaves_no_lag_of_zero(fault_stack: Stack, index: str) -> None:
    stack = fault_stack
    assert status(stack, index)["paused"] is None
    assert {"name": "feed", "outcome": "ok", "detail": "a feed is running", "advice": ""} in doctor(stack)
    owner = owner_of(stack, index)
    kill(stack, "feed")
    died = time.time() - 3600
    stack.es.update(index=CHECKPOINTS, id=f"feed-{owner}", doc={"at": died}, refresh=True)
    # A pending change of before would be in the checkpoint.
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    stack.es.update(index=CHECKPOINTS, id=f"{uuid}-g1", doc={"pending_since": None, "updated_at": died})
    stack.es.index(index=index, id="1", document={"body": "Rockets fly."})
    shown = status(stack, index)
    assert "no feed follows this index" in shown["paused"]
    assert shown["lag_seconds"] >= 3600
    assert (shown["pending"], shown["coverage"]) == (1, 0.5)
    assert "no feed follows this index" in stack.esblend("status", index).stdout
    failures = {check["name"]: check["detail"] for check in doctor(stack) if check["outcome"] == "failure"}
    assert "no feed is running" in failures["feed"]
    assert "no feed follows this index" in failures[index]
    revive(stack)
    stack.wait(index)
    wait_for("the end of the pause", lambda: status(stack, index)["paused"] is None)
    wait_for("the end of the lag", lambda: status(stack, index)["lag_seconds"] == 0)


def test_an_index_that_no_feed_has_followed_yet_has_an_unknown_lag(fault_stack: Stack, index: str) -> None:
    stack, late = fault_stack, f"{index}-late"
    kill(stack, "feed")
    stack.es.indices.refresh(index=CHECKPOINTS)
    stack.es.update_by_query(
        index=CHECKPOINTS,
        query={"match_all": {}},
        script={"source": "if (ctx._source.beat == null) { ctx.op = 'noop' } else { ctx.op = 'delete' }"},
        refresh=True,
    )
    stack.es.indices.create(index=late, mappings={"properties": {"body": {"type": "text"}}})
    stack.es.index(index=late, id="0", document={"body": "Whales sing."}, refresh=True)
    stack.attach(late, "body")
    shown = status(stack, late)
    assert "no feed follows this index" in shown["paused"]
    assert shown["lag_seconds"] is None
    assert "lag unknown" in stack.esblend("status", late).stdout


def test_a_feed_with_another_clock_lives(fault_stack: Stack, index_name: str) -> None:
    """The counter of its heartbeats moves, however old they seem."""
    stack, id_ = fault_stack, f"feed-{index_name}"
    stopping = threading.Event()

    def beat() -> None:
        counter = 0
        while not stopping.wait(0.2):
            counter += 1
            stack.es.index(index=CHECKPOINTS, id=id_, document={"format": 1, "beat": counter, "at": 1e9})

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        wait_for("a heartbeat", lambda: stack.es.exists(index=CHECKPOINTS, id=id_))
        assert life_of(stack, index_name) == FeedLife(is_alive=True)
        stopping.set()
        thread.join()
        life = life_of(stack, index_name)
        assert (life.is_alive, life.seen_at) == (False, 1e9)
    finally:
        stopping.set()
        thread.join()
        stack.es.delete(index=CHECKPOINTS, id=id_)
