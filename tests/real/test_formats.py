"""Two versions of esblend in one deployment: the older one ignores data of the newer one."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from elasticsearch import BadRequestError

from esblend.broker import EMBED_TASK, make_celery, queue_name
from esblend.settings import Settings
from indexer.feed.checkpoints import CHECKPOINTS_INDEX
from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, kill, process, revive, wait_for

NEWER = {"format": 2, "generations": {"g1": {"model": {"name": "of the future"}}}, "something": "new"}


@pytest.fixture(scope="module")
def stack(fault_stack: Stack) -> Stack:
    """One stack for the whole file, even if Elasticsearch's address is given."""
    return fault_stack


@pytest.fixture
def newer_index(stack: Stack, index_name: str) -> Iterator[str]:
    """An index that a newer version attached, with that version's checkpoint."""
    index = f"newer-{index_name}"
    mapping = {"_meta": {"esblend": NEWER}, "properties": {"body": {"type": "text"}}}
    stack.es.indices.create(index=index, mappings=mapping, settings={"number_of_replicas": 0})
    stack.es.index(index=index, id="1", document={"body": "a text of tomorrow"}, refresh=True)
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    checkpoint = {"format": 2, "index": index, "uuid": uuid, "generation": "g1", "positions": "of the future"}
    stack.es.index(index=CHECKPOINTS_INDEX, id=f"{uuid}-g1", document=checkpoint, refresh=True)
    yield index
    stack.es.indices.delete(index=index)
    stack.es.options(ignore_status=404).delete(index=CHECKPOINTS_INDEX, id=f"{uuid}-g1", refresh=True)


def test_a_newer_attachment_is_left_alone_and_others_are_served(
    stack: Stack, newer_index: str, make_index: Callable[..., str]
) -> None:
    for _ in range(2):  # a detached index makes the feed clean its checkpoints up
        mine = make_index({"body": "a text of today"})
        stack.attach(mine, "body")
        assert stack.wait(mine)["embedded"] == 1
        stack.call("DELETE", f"/_esblend/indices/{mine}")
        stack.es.indices.delete(index=mine)
    uuid = stack.es.indices.get_settings(index=newer_index)[newer_index]["settings"]["index"]["uuid"]
    checkpoint = stack.es.get(index=CHECKPOINTS_INDEX, id=f"{uuid}-g1")
    assert checkpoint["_source"]["positions"] == "of the future"
    assert checkpoint["_version"] == 1
    assert stack.es.get(index=newer_index, id="1")["_version"] == 1
    assert stack.es.indices.get_mapping(index=newer_index)[newer_index]["mappings"]["_meta"]["esblend"] == NEWER


def test_the_gateway_says_why_it_cannot_search_a_newer_attachment(stack: Stack, newer_index: str) -> None:
    assert stack.gateway.search(index=newer_index, query={"match": {"body": "tomorrow"}})["hits"]["hits"]
    for call in (
        lambda: stack.gateway.search(index=newer_index, query={"hybrid": {"query": "tomorrow"}}),
        lambda: stack.attach(newer_index, "body"),
        lambda: stack.call("GET", f"/_esblend/indices/{newer_index}/status"),
    ):
        with pytest.raises(BadRequestError, match="cannot be read by this version of esblend"):
            call()


def test_a_message_of_a_newer_format_fails_so_that_it_is_sent_again(
    stack: Stack, make_index: Callable[..., str]
) -> None:
    index = make_index({"body": "a text"})
    stack.attach(index, "body")
    stack.wait(index)
    before = stack.es.get(index=index, id="0")["_version"]
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    message = {
        "format": 3, "index": index, "uuid": uuid, "generation": "g1", "documents": [{"id": "0", "seq_no": 0}], "action": "renew",
    }  # fmt: skip
    with pytest.raises(Exception, match="not a task of this version") as caught:
        result_of(stack, message)
    assert "a text" not in str(caught.value)
    assert stack.es.get(index=index, id="0")["_version"] == before


def result_of(stack: Stack, message: dict[str, Any]) -> dict[str, Any]:
    app: Celery = make_celery(Settings(redis_url=stack.described["redis"]))
    try:
        return dict(app.send_task(EMBED_TASK, kwargs=message, queue=queue_name("live")).get(timeout=60))
    finally:
        app.close()


def test_a_message_of_an_earlier_feed_is_done(stack: Stack, make_index: Callable[..., str]) -> None:
    """Version 1 of the message: documents by id, found by the feed."""
    index = make_index({"body": "a text"}, {"body": "another"})
    stack.attach(index, "body")
    stack.wait(index)
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    changes = [{"id": "0", "seq_no": 0, "routing": None}, {"id": "gone", "seq_no": 1, "routing": None}]
    message = {
        "format": 1, "index": index, "uuid": uuid, "generation": "g1", "documents": changes, "action": "embed",
    }  # fmt: skip
    result = result_of(stack, message)
    assert {key: result[key] for key in ("written", "unchanged", "gone", "conflicts", "dead_letters")} == {
        "written": 0, "unchanged": 1, "gone": 1, "conflicts": 0, "dead_letters": 0,
    }  # fmt: skip


def test_an_earlier_worker_fails_ranges_and_loses_none(fault_stack: Stack, index_name: str, tmp_path: Path) -> None:
    """During an upgrade in which the feed was first: its tasks are sent again until a worker knows them."""
    stack = fault_stack
    kill(stack, "worker")
    mapping = {"properties": {"body": {"type": "text"}}}
    stack.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    stack.attach(index_name, "body")
    with process(stack, "tests.real.earlier_worker", place=tmp_path):
        for number in range(5):
            stack.es.index(index=index_name, id=str(number), document={"body": f"text {number}"})
        wait_for("failed tasks", lambda: "unknown message" in next(tmp_path.glob("ready-*.log")).read_text())
    revive(stack)
    assert_vectors_of_present_texts(stack, index_name, 5)
    stack.es.indices.delete(index=index_name)


def test_the_results_of_a_worker_that_pushes_none_are_found(
    fault_stack: Stack, index_name: str, tmp_path: Path
) -> None:
    stack = fault_stack
    kill(stack, "worker")
    mapping = {"properties": {"body": {"type": "text"}}}
    stack.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    with process(stack, "tests.real.silent_worker", place=tmp_path):
        stack.attach(index_name, "body")
        for number in range(5):
            stack.es.index(index=index_name, id=str(number), document={"body": f"text {number}"})
        assert_vectors_of_present_texts(stack, index_name, 5)
        wait_for("the end of the tasks", lambda: status_of(stack, index_name)["lag_seconds"] == 0)
    revive(stack)
    stack.es.indices.delete(index=index_name)


def status_of(stack: Stack, index: str) -> dict[str, Any]:
    return stack.call("GET", f"/_esblend/indices/{index}/status")
