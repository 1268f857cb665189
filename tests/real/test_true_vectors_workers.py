"""Workers that start slowly, that lose their child, or whose every task fails."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest

from esblend.local.ports import FreePorts
from tests.conftest import Stack
from tests.real.faults import kill, process, revive, wait_for


@pytest.fixture(scope="module", autouse=True)
def _revived(fault_stack: Stack) -> Iterator[None]:
    """The tests kill the stack's worker, and most of them need it no more; the others start it again."""
    yield
    revive(fault_stack)


@pytest.fixture
def index(fault_stack: Stack, index_name: str) -> Iterator[str]:
    mapping = {"properties": {"body": {"type": "text"}}}
    fault_stack.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    fault_stack.attach(index_name, "body")
    fault_stack.es.indices.put_settings(index=index_name, settings={"index.mapping.nested_objects.limit": 1})
    yield index_name
    fault_stack.es.indices.delete(index=index_name)


def fill(stack: Stack, index: str, count: int) -> None:
    operations: list[dict[str, Any]] = []
    for number in range(count):
        operations += [{"index": {"_id": str(number)}}, {"body": f"text number {number} of {index}"}]
    assert not stack.es.bulk(index=index, operations=operations, refresh=True)["errors"]


def ready_file(folder: Path) -> Path | None:
    return next((file for file in folder.glob("ready-*") if file.suffix != ".log"), None)


def test_a_killed_child_comes_back_however_long_its_model_loads(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    kill(fault_stack, "worker")
    with process(fault_stack, "tests.real.slow_worker", place=tmp_path) as worker:
        [child] = psutil.Process(worker.pid).children()
        os.kill(child.pid, signal.SIGKILL)
        wait_for("the worker to be unready", lambda: ready_file(tmp_path) is None)
        fill(fault_stack, index, 5)
        assert fault_stack.wait(index)["embedded"] == 5
        assert ready_file(tmp_path) is not None


def test_a_worker_whose_every_task_fails_steps_back(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    kill(fault_stack, "worker")
    with process(fault_stack, "tests.real.broken_worker", place=tmp_path):
        fill(fault_stack, index, 60)
        wait_for("the worker to step back", lambda: ready_file(tmp_path) is None)
        log = next(tmp_path.glob("ready-*.log")).read_text()
        assert "worker steps back" in log
        revive(fault_stack)
        status = fault_stack.wait(index)
        assert (status["embedded"], status["dead_letters"]) == (60, 0)


def test_a_dead_letter_costs_other_documents_no_deletions(fault_stack: Stack, index: str) -> None:
    def deletions() -> int:
        stats = fault_stack.es.indices.stats(index="esblend-dead-letters", metric="indexing", expand_wildcards="all")
        return int(stats["_all"]["primaries"]["indexing"]["delete_total"])

    revive(fault_stack)
    fault_stack.es.index(index=index, id="long", document={"body": "many words make a long text. " * 400}, refresh=True)
    assert fault_stack.wait(index)["dead_letters"] == 1
    before = deletions()
    fill(fault_stack, index, 100)
    assert fault_stack.wait(index)["embedded"] == 100
    assert deletions() == before
    fault_stack.es.index(index=index, id="long", document={"body": "short now"}, refresh=True)
    assert fault_stack.wait(index)["dead_letters"] == 0
    assert deletions() == before + 1


def test_a_waiting_write_learns_of_a_letter_whose_mark_is_rejected(fault_stack: Stack, index: str) -> None:
    fault_stack.es.indices.put_mapping(index=index, dynamic="false")
    kill(fault_stack, "worker")
    document = {"body": "many words make a long text. " * 400, "unknown": 1}
    with ThreadPoolExecutor(1) as pool:
        client = fault_stack.gateway.options(request_timeout=150)
        answer = pool.submit(
            client.perform_request,
            "PUT",
            f"/{index}/_doc/1",
            params={"wait_for": "embedded", "timeout": "120s"},
            headers={"accept": "application/json", "content-type": "application/json"},
            body=document,
        )
        wait_for("the document", lambda: fault_stack.es.exists(index=index, id="1"))
        fault_stack.es.indices.put_mapping(index=index, dynamic="strict")
        revive(fault_stack)
        waited = answer.result().body["esblend"]
    assert (waited["dead_letters"], waited["pending"], waited["timed_out"]) == (1, 0, False)
    assert "esblend" not in fault_stack.es.get(index=index, id="1")["_source"]


def liveness(port: int) -> int:
    """The status of `/live`; 0 while nothing serves it."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/live", timeout=5) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.parametrize("stuck", ["task", "parent", "child"])
def test_liveness_of_a_stuck_worker_fails(fault_stack: Stack, index: str, tmp_path: Path, stuck: str) -> None:
    kill(fault_stack, "worker")
    with FreePorts() as ports:
        port = ports.choose(0)
    environment = {
        "ESBLEND_METRICS_PORT": str(port),
        "STUCK_IN_TASK": "1" if stuck == "task" else "",
        "ESBLEND_FEED_TASK_TIMEOUT_SECONDS": "3",
    }
    with process(fault_stack, "tests.real.stuck_worker", place=tmp_path, **environment) as worker:
        assert liveness(port) == 200
        [child] = psutil.Process(worker.pid).children()
        if stuck == "task":
            fill(fault_stack, index, 1)
            wait_for("the stuck task to show", lambda: liveness(port) == 503)
        elif stuck == "parent":
            os.kill(worker.pid, signal.SIGSTOP)
            wait_for("the stuck parent to show", lambda: liveness(port) == 503)
            os.kill(worker.pid, signal.SIGCONT)
            wait_for("the parent to go on", lambda: liveness(port) == 200)
        else:
            os.kill(child.pid, signal.SIGSTOP)
            wait_for("the stopped child to show", lambda: liveness(port) == 0)
        child.kill()
        worker.kill()
