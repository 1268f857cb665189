"""Processes are killed and Redis is emptied; every document still gets the vectors of its text."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from esblend.encoder.encoder import EncoderOptions, load_encoder
from tests.conftest import Stack, run_esblend, start_stack, stop_stack

COUNT = 300


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> Iterator[Stack]:
    """Processes and a Redis of its own, on the Elasticsearch of the shared stack: only what may be killed is new."""
    place = tmp_path_factory.mktemp("recovery")
    own = start_stack(place, "--es", stack.described["elasticsearch"])
    yield own
    stop_stack(own)


@pytest.fixture
def filled(own_stack: Stack, index_name: str) -> Iterator[str]:
    """An attached index, just filled: its vectors are on their way."""
    es = own_stack.es
    es.indices.create(
        index=index_name, mappings={"properties": {"body": {"type": "text"}}}, settings={"number_of_replicas": 0}
    )
    own_stack.attach(index_name, "body")
    write(own_stack, index_name, "at first")
    yield index_name
    es.indices.delete(index=index_name)


def write(stack: Stack, index: str, words: str) -> None:
    operations: list[dict[str, Any]] = []
    for number in range(COUNT):
        operations += [{"index": {"_id": str(number)}}, {"body": text_of(number, words)}]
    stack.es.bulk(index=index, operations=operations)


def text_of(number: int, words: str) -> str:
    return f"Document {number} says {words}, " + "and goes on about it for a while, " * (number % 7)


def pids(stack: Stack, name: str) -> list[int]:
    import json

    return list(json.loads(stack.esblend("ps", "--json").stdout)["pids"][name])


def revive(stack: Stack) -> None:
    again = run_esblend("up", "--json", "--data-dir", str(stack.data_dir))
    assert again.returncode == 0, again.stderr


def assert_current(stack: Stack, index: str, words: str) -> None:
    """Every document has exactly the vector of its text."""
    status = stack.wait(index, seconds=180)
    assert (status["embedded"], status["dead_letters"]) == (COUNT, 0)
    hits = stack.es.search(index=index, size=COUNT, source={"exclude_vectors": False})["hits"]["hits"]  # type: ignore[arg-type]
    encoder = load_encoder("minilm", EncoderOptions(threads=1))
    expected = encoder.encode_documents([text_of(int(hit["_id"]), words) for hit in hits])
    found = np.array([hit["_source"]["esblend"]["g1"]["passages"][0]["vector"] for hit in hits])
    assert len(hits) == COUNT
    np.testing.assert_allclose((found * expected).sum(axis=1), 1, atol=1e-4)


def wait_until_embedding(stack: Stack, index: str) -> None:
    while stack.call("GET", f"/_esblend/indices/{index}/status")["embedded"] == 0:
        pass


def test_an_emptied_redis_loses_nothing(own_stack: Stack, filled: str) -> None:
    wait_until_embedding(own_stack, filled)
    with Redis.from_url(own_stack.described["redis"]) as redis:
        redis.flushall()
    assert_current(own_stack, filled, "at first")


@pytest.mark.parametrize("name", ["worker", "feed"])
def test_a_killed_process_loses_nothing(own_stack: Stack, filled: str, name: str) -> None:
    wait_until_embedding(own_stack, filled)
    for pid in reversed(pids(own_stack, name)):
        os.kill(pid, signal.SIGKILL)
    write(own_stack, filled, "something else meanwhile")
    assert own_stack.esblend("ps").returncode == 1
    revive(own_stack)
    assert_current(own_stack, filled, "something else meanwhile")


def test_a_killed_child_of_the_worker_loses_nothing(own_stack: Stack, filled: str) -> None:
    wait_until_embedding(own_stack, filled)
    os.kill(pids(own_stack, "worker")[-1], signal.SIGKILL)
    assert_current(own_stack, filled, "at first")


def test_a_killed_redis_loses_nothing(own_stack: Stack, filled: str) -> None:
    wait_until_embedding(own_stack, filled)
    [pid] = pids(own_stack, "redis")
    os.kill(pid, signal.SIGKILL)
    write(own_stack, filled, "something new without a queue")
    revive(own_stack)
    assert_current(own_stack, filled, "something new without a queue")


def test_processes_wait_for_servers_that_are_not_there_yet(tmp_path: Path) -> None:
    """Feed and worker say what they wait for, and go on by themselves when it appears."""
    import subprocess
    import sys

    env = {**os.environ, "ESBLEND_ES_URL": "http://127.0.0.1:9", "ESBLEND_REDIS_URL": "redis://127.0.0.1:9/0"}
    for name in ("feed", "worker"):
        log = tmp_path / name
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "esblend.cli", name], stderr=output, env=env, cwd=tmp_path
            )
        try:
            while log.read_text().count("waiting for Elasticsearch") < 2:
                assert process.poll() is None, log.read_text()
            assert "http://127.0.0.1:9" in log.read_text()
        finally:
            process.terminate()
            process.wait(timeout=30)
