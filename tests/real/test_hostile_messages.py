"""A client that can write to Redis can neither run code in a worker nor make it write to unattached indices."""

import os
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from esblend.broker import EMBED_TASK, make_celery, queue_name
from esblend.settings import Settings
from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts


class Exploit:
    """What a pickle of it does when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.fixture
def index(fault_stack: Stack, index_name: str) -> Any:
    mapping = {"properties": {"body": {"type": "text"}}}
    fault_stack.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    fault_stack.attach(index_name, "body")
    yield index_name
    fault_stack.es.indices.delete(index=index_name)


def test_hostile_messages_are_dropped_and_the_work_goes_on(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    stack = fault_stack
    stack.es.index(index="bystander", id="1", document={"body": "not attached"}, refresh=True)
    uuid = stack.es.indices.get_settings(index="bystander")["bystander"]["settings"]["index"]["uuid"]
    app: Celery = make_celery(Settings(redis_url=stack.described["redis"]))
    app.conf.update(task_serializer="pickle", accept_content=["pickle", "json"])
    queue = queue_name("live")
    document = {"id": "1", "seq_no": 0}
    app.send_task(EMBED_TASK, kwargs={"index": Exploit(tmp_path / "hacked")}, queue=queue, serializer="pickle")
    for message in (
        {"index": "bystander", "uuid": uuid, "generation": "g1", "documents": [document], "action": "renew"},
        {"index": "bystander", "uuid": uuid, "generation": "g1", "documents": [document], "command": "rm"},
        {"index": "../_all", "uuid": "x", "generation": "g1", "documents": [document]},
        {"documents": [{}] * 5000},
    ):
        app.send_task(EMBED_TASK, kwargs=message, queue=queue, serializer="json")
    app.send_task("os.system", args=["true"], queue=queue, serializer="json")
    app.close()
    for n in range(5):
        stack.es.index(index=index, id=str(n), document={"body": f"text number {n}"}, refresh=True)
    assert_vectors_of_present_texts(stack, index, 5)
    assert not (tmp_path / "hacked").exists()
    assert stack.es.get(index="bystander", id="1")["_source"] == {"body": "not attached"}
    assert stack.es.get(index="bystander", id="1")["_version"] == 1
    stack.es.indices.delete(index="bystander")
