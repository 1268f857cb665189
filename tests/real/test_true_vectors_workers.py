"""Workers that start slowly, that lose their child, or whose every task fails."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Stack
from tests.real.faults import kill, process, revive, wait_for


@pytest.fixture
def index(fault_stack: Stack, index_name: str) -> Iterator[str]:
    mapping = {"properties": {"body": {"type": "text"}}}
    fault_stack.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    fault_stack.attach(index_name, "body")
    fault_stack.es.indices.put_settings(index=index_name, settings={"index.mapping.nested_objects.limit": 1})
    yield index_name
    revive(fault_stack)
    fault_stack.es.indices.delete(index=index_name)


def fill(stack: Stack, index: str, count: int) -> None:
    operations: list[dict[str, Any]] = []
    for number in range(count):
        operations += [{"index": {"_id": str(number)}}, {"body": f"text number {number} of {index}"}]
    assert not stack.es.bulk(index=index, operations=operations, refresh=True)["errors"]


def ready_file(place: Path) -> Path | None:
    return next((file for file in place.glob("ready-*") if file.suffix != ".log"), None)


def test_a_killed_child_comes_back_however_long_its_model_loads(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    kill(fault_stack, "worker")
    with process(fault_stack, "tests.real.slow_worker", place=tmp_path) as worker:
        [child] = psutil.Process(worker.pid).children()
        os.kill(child.pid, signal.SIGKILL)
        wait_for("the worker to be unready", lambda: ready_file(tmp_path) is None, 10)
        fill(fault_stack, index, 5)
        assert fault_stack.wait(index)["embedded"] == 5
        assert ready_file(tmp_path) is not None


def test_a_worker_whose_every_task_fails_steps_back(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    kill(fault_stack, "worker")
    with process(fault_stack, "tests.real.broken_worker", place=tmp_path):
        fill(fault_stack, index, 60)
        wait_for("the worker to step back", lambda: ready_file(tmp_path) is None, 60)
        log = next(tmp_path.glob("ready-*.log")).read_text()
        assert "worker steps back" in log
        revive(fault_stack)
        status = fault_stack.wait(index)
        assert (status["embedded"], status["dead_letters"]) == (60, 0)


def test_a_dead_letter_costs_other_documents_no_deletions(fault_stack: Stack, index: str) -> None:
    def deletions() -> int:
        stats = fault_stack.es.indices.stats(index="esblend-dead-letters", metric="indexing", expand_wildcards="all")
        return int(stats["_all"]["primaries"]["indexing"]["delete_total"])

    fault_stack.es.index(index=index, id="long", document={"body": "many words make a long text. " * 400}, refresh=True)
    assert fault_stack.wait(index)["dead_letters"] == 1
    before = deletions()
    fill(fault_stack, index, 100)
    assert fault_stack.wait(index)["embedded"] == 100
    assert deletions() == before
    fault_stack.es.index(index=index, id="long", document={"body": "short now"}, refresh=True)
    assert fault_stack.wait(index)["dead_letters"] == 0
    assert deletions() == before + 1
