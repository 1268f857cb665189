"""Processes are killed, servers and networks fail; every document still gets the vector of its text."""

import itertools
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from elastic_transport import TransportError
from elasticsearch import ApiError, ConflictError, Elasticsearch
from redis import Redis

from esblend.broker import DocumentRef, EmbedTask
from esblend.settings import Settings
from indexer.feed.task_queue import TaskQueue
from tests.conftest import Stack, run_esblend
from tests.real.faults import (
    BadNetwork,
    assert_vectors_of_present_texts,
    kill,
    log_lines,
    pids,
    process,
    revive,
    vectors_by_id,
    wait_for,
)

COUNT = 150
FIRST, LATER = "at first", "something else meanwhile"
"""Words of the texts. All tests write the same texts, because the vectors that they should have take seconds to compute."""


@pytest.fixture
def index(fault_stack: Stack, index_name: str) -> Iterator[str]:
    """An attached index without documents."""
    mapping = {"properties": {"body": {"type": "text"}}}
    fault_stack.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    fault_stack.attach(index_name, "body")
    yield index_name
    revive(fault_stack)
    fault_stack.es.indices.delete(index=index_name)


@pytest.fixture
def filled(fault_stack: Stack, index: str) -> str:
    """An attached index, just filled: its vectors are on their way."""
    write(fault_stack, index, FIRST)
    wait_for("the first vector", lambda: status(fault_stack, index)["embedded"])
    return index


def write(stack: Stack, index: str, words: str) -> None:
    operations: list[dict[str, Any]] = []
    for number in range(COUNT):
        text = f"Document {number} says {words}, " + "and goes on about it for a while, " * (number % 7)
        operations += [{"index": {"_id": str(number)}}, {"body": text}]
    assert not stack.es.bulk(index=index, operations=operations)["errors"]


def status(stack: Stack, index: str) -> dict[str, Any]:
    return stack.call("GET", f"/_esblend/indices/{index}/status")


def test_an_emptied_redis_loses_nothing(fault_stack: Stack, filled: str) -> None:
    with Redis.from_url(fault_stack.described["redis"]) as redis:
        redis.flushall()
    assert_vectors_of_present_texts(fault_stack, filled, COUNT)


@pytest.mark.parametrize("name", ["worker", "feed", "redis"])
def test_a_killed_process_loses_nothing(fault_stack: Stack, filled: str, name: str) -> None:
    kill(fault_stack, name)
    write(fault_stack, filled, LATER)
    assert fault_stack.esblend("ps").returncode == 1
    revive(fault_stack)
    assert_vectors_of_present_texts(fault_stack, filled, COUNT)


def test_a_killed_child_of_the_worker_loses_nothing(fault_stack: Stack, filled: str) -> None:
    os.kill(pids(fault_stack, "worker")[-1], signal.SIGKILL)
    assert_vectors_of_present_texts(fault_stack, filled, COUNT)


def test_a_restarted_elasticsearch_loses_nothing(fault_stack: Stack, filled: str) -> None:
    kill(fault_stack, "elasticsearch")
    revive(fault_stack)
    assert_vectors_of_present_texts(fault_stack, filled, COUNT)


def test_everything_killed_at_once_loses_nothing(fault_stack: Stack, filled: str) -> None:
    kill(fault_stack, "feed", "worker", "gateway", "redis", "elasticsearch")
    revive(fault_stack)
    assert_vectors_of_present_texts(fault_stack, filled, COUNT)


def test_random_writers_against_random_kills(fault_stack: Stack, index: str) -> None:
    """Inserts, updates of all kinds, deletions and bulk writes from four connections, while processes die."""
    stop = threading.Event()

    def writer(seed: int) -> None:
        chance = random.Random(seed)
        with Elasticsearch(fault_stack.described["elasticsearch"]) as es:
            for turn in itertools.count():
                if stop.is_set():
                    return
                id_ = str(chance.randrange(150))
                text = f"Writer {seed} in turn {turn} on {id_} " + "with more words " * chance.randrange(12)
                with suppress(ApiError, TransportError):
                    match chance.randrange(6):
                        case 0 | 1:
                            es.index(index=index, id=id_, document={"body": text})
                        case 2:
                            es.update(index=index, id=id_, doc={"body": text})
                        case 3:
                            es.update(index=index, id=id_, script={"source": "ctx._source.body += ' and on'"})
                        case 4:
                            es.delete(index=index, id=id_)
                        case 5:
                            lines: list[Any] = []
                            for other in chance.sample(range(150), 10):
                                lines += [{"index": {"_id": str(other)}}, {"body": f"{text} for {other}"}]
                            es.bulk(index=index, operations=lines)
                stop.wait(0.02)

    chance = random.Random(7)
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(writer, seed) for seed in range(4)]
        try:
            for _ in range(6):
                stop.wait(2)
                match chance.choice(["worker", "feed", "child", "flush", "gateway"]):
                    case "child":
                        with suppress(ProcessLookupError, IndexError):
                            os.kill(pids(fault_stack, "worker")[-1], signal.SIGKILL)
                    case "flush":
                        with Redis.from_url(fault_stack.described["redis"]) as redis:
                            redis.flushall()
                    case name:
                        kill(fault_stack, name)
                        revive(fault_stack)
        finally:
            stop.set()
        for future in writing:
            future.result()
    fault_stack.es.indices.refresh(index=index)
    assert_vectors_of_present_texts(fault_stack, index, fault_stack.es.count(index=index)["count"])


@pytest.mark.parametrize("block", ["index.blocks.read_only_allow_delete", "index.blocks.write"])
def test_a_block_on_writes_delays_vectors_and_loses_none(fault_stack: Stack, index: str, block: str) -> None:
    """What Elasticsearch does to an index when its disk is full, and what people do to one."""
    kill(fault_stack, "worker")
    write(fault_stack, index, FIRST)
    fault_stack.es.indices.put_settings(index=index, settings={block: True})
    revive(fault_stack)
    wait_for("the block to be met", lambda: is_paused(fault_stack, index))
    fault_stack.es.indices.put_settings(index=index, settings={block: None})
    assert_vectors_of_present_texts(fault_stack, index, COUNT)
    assert status(fault_stack, index)["dead_letters"] == 0


def test_a_full_redis_delays_vectors_and_loses_none(fault_stack: Stack, index: str) -> None:
    with Redis.from_url(fault_stack.described["redis"]) as redis:
        redis.config_set("maxmemory", "1")
        write(fault_stack, index, FIRST)
        wait_for(
            "the feed to notice",
            lambda: any("the change feed waits" in line for line in log_lines(fault_stack, "feed")),
        )
        redis.config_set("maxmemory", "0")
    assert_vectors_of_present_texts(fault_stack, index, COUNT)


def test_a_worker_refuses_a_redis_that_may_evict_its_queue(fault_stack: Stack) -> None:
    env = {
        "ESBLEND_ES_URL": fault_stack.described["elasticsearch"],
        "ESBLEND_REDIS_URL": fault_stack.described["redis"],
    }
    with Redis.from_url(fault_stack.described["redis"]) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            refused = run_esblend("worker", env=env)
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
    assert refused.returncode == 1
    assert "may evict queued tasks" in refused.stderr


def test_a_closed_index_is_taken_up_again_where_it_was(fault_stack: Stack, filled: str) -> None:
    fault_stack.es.indices.close(index=filled)
    fault_stack.es.indices.open(index=filled)
    assert_vectors_of_present_texts(fault_stack, filled, COUNT)


def is_paused(stack: Stack, index: str) -> bool:
    return any("pausing an index" in line and index in line for line in log_lines(stack, "feed"))


def test_tasks_twice_out_of_order_and_for_what_is_gone_do_no_harm(fault_stack: Stack, filled: str) -> None:
    fault_stack.wait(filled)
    uuid = fault_stack.es.indices.get_settings(index=filled)[filled]["settings"]["index"]["uuid"]
    fault_stack.es.delete(index=filled, id="0")
    fault_stack.es.index(index=filled, id="1", document={"body": "a newer text"})
    described = fault_stack.described
    queue = TaskQueue(Settings(es_url=described["elasticsearch"], redis_url=described["redis"]))
    references = [DocumentRef(id=str(number), seq_no=number) for number in range(5)]
    tasks = [
        EmbedTask(index=filled, uuid=uuid, generation="g1", documents=references),
        EmbedTask(index=filled, uuid=uuid, generation="g1", documents=references[::-1]),
        EmbedTask(index=filled, uuid="made-anew", generation="g1", documents=references),
        EmbedTask(index=filled, uuid=uuid, generation="g9", documents=references),
        EmbedTask(index="no-such-index", uuid=uuid, generation="g1", documents=references),
    ]
    sent = [queue.send("live", task) for task in tasks + tasks]
    results = [queue.wait(task, seconds=240) for task in sent]
    queue.close()
    assert [result.gone for result in results] == [1, 1, 5, 5, 5] * 2
    assert sum(result.dead_letters for result in results) == 0
    assert_vectors_of_present_texts(fault_stack, filled, COUNT - 1)


def test_writers_with_external_versions_never_meet_a_moved_version(fault_stack: Stack, index_name: str) -> None:
    es = fault_stack.es
    mapping = {"properties": {"body": {"type": "text"}, "other": {"type": "text"}}}
    es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    fault_stack.attach(index_name, "body", versioning="external")
    for version in (5, 6, 9):
        for number in range(20):
            document = {"body": f"text {number} of version {version}", "other": "kept"}
            es.index(index=index_name, id=str(number), document=document, version=version, version_type="external")
        fault_stack.wait(index_name)
        hits = es.search(index=index_name, size=100, version=True, source=["other", "esblend.g1.state"])["hits"]["hits"]
        assert {hit["_version"] for hit in hits} == {version}
        assert {hit["_source"]["esblend"]["g1"]["state"] for hit in hits} == {"embedded"}
        assert {hit["_source"]["other"] for hit in hits} == {"kept"}
    with pytest.raises(ConflictError):
        es.index(index=index_name, id="0", document={"body": "old"}, version=8, version_type="external")
    es.delete(index=index_name, id="1", version=10, version_type="external")
    assert_vectors_of_present_texts(fault_stack, index_name, 19)
    es.indices.delete(index=index_name)


def test_a_clock_that_jumps_loses_nothing(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    kill(fault_stack, "feed", "worker")
    with (
        process(fault_stack, "tests.real.jumping_clock", "feed", place=tmp_path),
        process(fault_stack, "tests.real.jumping_clock", "worker", place=tmp_path),
    ):
        write(fault_stack, index, FIRST)
        assert_vectors_of_present_texts(fault_stack, index, COUNT)
        write(fault_stack, index, LATER)
        assert_vectors_of_present_texts(fault_stack, index, COUNT)
        assert 0 <= status(fault_stack, index)["lag_seconds"] < 60


def test_another_feed_takes_over(fault_stack: Stack, filled: str, tmp_path: Path) -> None:
    with process(fault_stack, "esblend", "feed", place=tmp_path):
        fault_stack.wait(filled)
        kill(fault_stack, "feed")
        write(fault_stack, filled, LATER)
        wait_for("the take-over", lambda: status(fault_stack, filled)["pending"] < COUNT)
        assert_vectors_of_present_texts(fault_stack, filled, COUNT)


def test_two_feeds_do_the_work_once(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    with process(fault_stack, "esblend", "feed", place=tmp_path):
        write(fault_stack, index, FIRST)
        fault_stack.wait(index)
        hits = fault_stack.es.search(index=index, size=COUNT, version=True)["hits"]["hits"]
        assert Counter(hit["_version"] for hit in hits) == {2: COUNT}


def test_a_bad_network_delays_vectors_and_loses_none(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    """Latency, broken connections, 429, 503, and requests that were carried out though their answer was lost."""
    address = urlsplit(fault_stack.described["elasticsearch"])
    kill(fault_stack, "feed", "worker")
    with BadNetwork(address.hostname or "", address.port or 0) as network:
        url = {"ESBLEND_ES_URL": f"http://127.0.0.1:{network.port}", "ESBLEND_ES_TIMEOUT_SECONDS": "5"}
        with (
            process(fault_stack, "esblend", "feed", place=tmp_path, **url),
            process(fault_stack, "esblend", "worker", place=tmp_path, **url),
        ):
            network.delay_seconds = 0.02
            network.reset_probability = network.lost_answer_probability = 0.05
            network.refusal_probability = 0.2
            write(fault_stack, index, FIRST)
            assert_vectors_of_present_texts(fault_stack, index, COUNT)


def test_odd_texts_are_embedded_and_a_huge_one_is_a_dead_letter(fault_stack: Stack, index: str) -> None:
    import urllib.request

    address = fault_stack.described["elasticsearch"]
    body = b'{"body": "half a pair \\ud83d and \\udc00 \\u0000 control"}'
    request = urllib.request.Request(
        f"{address}/{index}/_doc/odd", body, {"content-type": "application/json"}, method="PUT"
    )
    urllib.request.urlopen(request).close()
    fault_stack.es.indices.put_settings(index=index, settings={"index.mapping.nested_objects.limit": 500})
    fault_stack.es.index(index=index, id="long", document={"body": "many words make a long text. " * 40_000})
    status = fault_stack.wait(index, seconds=300)
    assert (status["embedded"], status["dead_letters"]) == (1, 1)
    [letter] = fault_stack.call("GET", "/_esblend/dead-letters", index=index)["dead_letters"]
    assert letter["id"] == "long"
    assert "nested_objects.limit" in letter["error"]
    assert len(vectors_by_id(fault_stack, index)["odd"][1]) == 1


def test_processes_wait_for_servers_that_are_not_there_yet(tmp_path: Path) -> None:
    """Feed and worker say what they wait for, and go on by themselves when it appears."""
    import subprocess
    import sys

    env = {**os.environ, "ESBLEND_ES_URL": "http://127.0.0.1:9", "ESBLEND_REDIS_URL": "redis://127.0.0.1:9/0"}
    for name in ("feed", "worker"):
        log = tmp_path / name
        with log.open("w") as output:
            process = subprocess.Popen([sys.executable, "-m", "esblend", name], stderr=output, env=env, cwd=tmp_path)
        try:
            while log.read_text().count("waiting for Elasticsearch") < 2:
                assert process.poll() is None, log.read_text()
            assert "http://127.0.0.1:9" in log.read_text()
        finally:
            process.terminate()
            process.wait(timeout=30)
