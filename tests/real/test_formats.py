"""Two versions of esblend in one deployment: the older one ignores data of the newer one."""

from collections.abc import Callable, Iterator

import pytest
from celery import Celery
from elasticsearch import BadRequestError

from esblend.broker import EMBED_TASK, make_celery, queue_name
from esblend.settings import Settings
from indexer.feed.checkpoints import CHECKPOINTS_INDEX
from tests.conftest import Stack

NEWER = {"format": 2, "generations": {"g1": {"model": {"name": "of the future"}}}, "something": "new"}


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
    kept = stack.es.get(index=CHECKPOINTS_INDEX, id=f"{uuid}-g1")
    assert kept["_source"]["positions"] == "of the future"
    assert kept["_version"] == 1
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
        "format": 2, "index": index, "uuid": uuid, "generation": "g1", "documents": [{"id": "0", "seq_no": 0}], "action": "renew",
    }  # fmt: skip
    app: Celery = make_celery(Settings(redis_url=stack.described["redis"]))
    sent = app.send_task(EMBED_TASK, kwargs=message, queue=queue_name("live"))
    with pytest.raises(Exception, match="not a task of this version") as caught:
        sent.get(timeout=60)
    app.close()
    assert "a text" not in str(caught.value)
    assert stack.es.get(index=index, id="0")["_version"] == before
