"""Workers push reports to the feed; one round trip receives all of them, and a lost report is found in Celery's result."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from redis import Redis

from esblend.broker import EmbedResult, RangeTask, Report, held_key, reports_key, worker_key
from esblend.local.ports import FreePorts
from esblend.local.valkey import start_valkey
from esblend.settings import Settings
from indexer.feed.task_queue import TaskQueue
from tests.real.faults import wait_for
from tests.real.test_brokers import _answers, _end
from workers.reports import Reports

TASK = RangeTask(index="articles", uuid="u", generation="g1", shard=0, after=-1, until=9, max_documents=10)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with FreePorts() as ports:
        port = ports.choose(0)
    started = start_valkey(port, tmp_path_factory.mktemp("valkey"))
    while not _answers(port):
        threading.Event().wait(0.05)
    with Redis(port=port) as client:
        yield client
    _end(started.pid)


@pytest.fixture
def queue(redis: Redis) -> Iterator[TaskQueue]:
    redis.flushall()
    port = redis.connection_pool.connection_kwargs["port"]
    with closing(TaskQueue(Settings(redis_url=f"redis://127.0.0.1:{port}/0"))) as made:
        made.mark()
        yield made


def reports(redis: Redis, queue: TaskQueue, task: str) -> Reports:
    return Reports(redis, queue._feed, task)


def commands(redis: Redis) -> int:
    return sum(int(stats["calls"]) for stats in dict(redis.info("commandstats")).values())


def test_the_number_of_requests_does_not_grow_with_the_tasks(redis: Redis, queue: TaskQueue) -> None:
    queue.take()
    used = []
    for count in (1, 1000):
        for number in range(count):
            reports(redis, queue, f"t{number}").ended(EmbedResult(written=1, until=9))
        before = commands(redis)
        taken, was_emptied = queue.take()
        used.append(commands(redis) - before)
        assert (len(taken), was_emptied) == (count, False)
        queue.take()
    assert used[0] == used[1] <= 7


def test_the_mark_of_a_feed_is_renewed_and_does_not_outlive_it(redis: Redis, queue: TaskQueue) -> None:
    redis.expire(queue._token, 100)
    assert queue.take() == ([], False)
    assert redis.ttl(queue._token) > 100
    queue.close()
    assert not redis.exists(queue._token)


def test_a_report_ends_the_wait(redis: Redis, queue: TaskQueue) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_often, queue)
        wait_for("the waiting feed", lambda: redis.info("clients")["blocked_clients"])
        reports(redis, queue, "a").written([4, 2, 3])
        reports(redis, queue, "a").ended(EmbedResult(written=3, until=9))
        [first] = waiting.result()
    assert first == Report(task="a", written=[(2, 4)])
    assert queue.take() == ([Report(task="a", is_end=True, result=EmbedResult(written=3, until=9))], False)
    assert not redis.exists(reports_key(queue._feed))


def wait_often(queue: TaskQueue) -> list[Report]:
    """The first report. A single wait may end before the report comes, on a loaded machine."""
    while not (received := queue.wait_for_report(5)):
        pass
    return received


@pytest.mark.parametrize("seconds", [1e-9, 0.0004, 0.02])
def test_a_short_wait_ends(queue: TaskQueue, seconds: float) -> None:
    """Redis reads a time limit of 0 as no limit, and the connection would break after ten seconds."""
    assert queue.wait_for_report(seconds) == []


def test_results_whose_feed_waits_are_deleted(redis: Redis, queue: TaskQueue) -> None:
    task = queue.send("live", TASK)
    queue._app.backend.store_result(task, EmbedResult(written=2, until=9).model_dump(), "SUCCESS")
    reports(redis, queue, task).ended(EmbedResult(written=2, until=9))
    assert [report.task for report in queue.wait_for_report(5)] == [task]
    queue.take()
    assert not list(redis.scan_iter("celery-task-meta-*"))


def test_a_lost_report_is_found_in_the_result(redis: Redis, queue: TaskQueue) -> None:
    task = queue.send("live", TASK)
    assert queue.missed([task]) == []
    queue._app.backend.store_result(task, EmbedResult(written=2, until=9).model_dump(), "SUCCESS")
    failed = queue.send("live", TASK)
    queue._app.backend.store_result(failed, ValueError("broken"), "FAILURE")
    ends = {report.task: report.result for report in queue.missed([task, failed])}
    assert ends == {task: EmbedResult(written=2, until=9), failed: None}
    queue.take()
    assert not list(redis.scan_iter("celery-task-meta-*"))


def test_foreign_entries_are_ignored(redis: Redis, queue: TaskQueue) -> None:
    redis.rpush(reports_key(queue._feed), "no JSON", b'{"task": 7}')
    reports(redis, queue, "a").ended(None)
    taken, _ = queue.take()
    assert [(report.task, report.is_end, report.result) for report in taken] == [("a", True, None)]


def test_an_emptied_redis_is_noticed(redis: Redis, queue: TaskQueue) -> None:
    assert not queue.take()[1]
    redis.flushall()
    assert queue.take()[1]


def test_a_living_worker_that_no_longer_names_a_task_does_not_hold_it(redis: Redis, queue: TaskQueue) -> None:
    """The task ended while Redis was away: neither its result nor its end arrived."""
    for worker, sign in (("w1", b'["a"]'), ("w2", b"1"), ("w3", b"not JSON")):
        redis.set(worker_key(worker), sign)
    for task, worker in (("a", "w1"), ("b", "w1"), ("c", "w2"), ("d", "w3"), ("e", "dead")):
        redis.set(held_key(task), worker)
    view = queue.view(list("abcdef"))
    assert view.holders == {"a": "w1", "c": "w2", "d": "w3", "e": "dead"}
    assert view.living_workers == {"w1", "w2", "w3"}
