"""Several feed processes divide the indices evenly, and adjust when one comes or goes."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from elasticsearch import AsyncElasticsearch
from redis.exceptions import ConnectionError as RedisUnreachable

from esblend.settings import Settings
from indexer.care.status import HAND_OVER
from indexer.feed import process as feed_process
from indexer.feed.feed import Feed
from indexer.feed.leases import Leases
from indexer.feed.members import MEMBERS_ID
from indexer.feed.task_queue import TaskQueue
from mappings.attachment_copies import CHECKPOINTS_INDEX
from tests.conftest import Stack
from tests.real.faults import BadNetwork, assert_vectors_of_present_texts, pids, process, revive, wait_for

INDICES = 6
DOCUMENTS = 5


async def until(holds: Callable[[], bool], *leases: Leases) -> None:
    """Heartbeats and looks of these processes until the condition holds."""
    while not holds():
        for lease in leases:
            await lease.beat()
            await lease.look()
        await asyncio.sleep(0.1)


def test_processes_of_a_group_see_each_other_come_and_go(stack: Stack) -> None:
    """The stack's own feed is in another group, and has no part in it."""

    async def act() -> None:
        group = uuid.uuid4().hex
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            first, second, other = Leases(es, group), Leases(es, group), Leases(es, uuid.uuid4().hex)
            for leases in (first, second, other):
                await leases.join()
            second.in_flight = {"live": 3}
            both = {first.me, second.me}
            await until(lambda: first.members == second.members == both, first, second, other)
            await until(lambda: {"live": 3} in first.in_flight_of_others, first, second, other)
            assert other.members == {other.me}
            await second.resign()
            await until(lambda: first.members == {first.me}, first, other)
            for leases in (first, other):
                await leases.resign()

    asyncio.run(act())


def test_a_process_without_a_heartbeat_is_removed_and_comes_back(stack: Stack) -> None:
    async def act() -> None:
        group = uuid.uuid4().hex
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            living, paused = Leases(es, group), Leases(es, group)
            await living.join()
            await paused.join()
            await until(lambda: paused.me in living.members, living, paused)
            await until(lambda: living.members == {living.me}, living)
            await until(lambda: living.members == {living.me, paused.me}, living, paused)
            for leases in (living, paused):
                await leases.resign()

    asyncio.run(act())


class SlowFeed(Feed):
    """A feed whose round over many indices takes as long as five heartbeats."""

    rounds = 0

    async def prepare(self) -> None:
        pass

    async def round(self) -> None:
        beats = self._leases._counter
        await until(lambda: self._leases._counter >= beats + 5)
        self.rounds += 1


def test_the_heartbeat_does_not_wait_for_slow_rounds(stack: Stack) -> None:
    settings = Settings(es_url=stack.described["elasticsearch"])

    async def act() -> None:
        async with AsyncElasticsearch(settings.es_url) as es:
            leases = Leases(es, uuid.uuid4().hex)
            feed = SlowFeed(es, TaskQueue(settings), leases, settings)
            running = asyncio.create_task(
                feed_process._follow(es, feed, leases, feed_process.Liveness(settings), settings)
            )
            try:
                await until(lambda: feed.rounds > 0)
                assert leases.can_work
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await leases.resign()

    asyncio.run(act())


class FailingFeed(Feed):
    """A feed that loses Redis after its start."""

    async def prepare(self) -> None:
        pass

    async def round(self) -> None:
        raise RedisUnreachable


def members(stack: Stack) -> set[str]:
    stored = stack.es.options(ignore_status=404).get(index=CHECKPOINTS_INDEX, id=MEMBERS_ID)
    return {member["id"] for member in stored["_source"]["feeds"]} if stored.get("found") else set()


@pytest.mark.parametrize(("kind", "is_ever_member"), [(Feed, False), (FailingFeed, True)])
def test_a_process_without_redis_gets_no_indices(
    stack: Stack, kind: type[Feed], is_ever_member: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could send no task, and the other processes would leave its share to it."""
    monkeypatch.setattr(feed_process, "_FAILING_SECONDS", 3600.0)
    settings = Settings(es_url=stack.described["elasticsearch"], redis_url="redis://127.0.0.1:1/0")

    async def act() -> None:
        async with AsyncElasticsearch(settings.es_url) as es:
            leases = Leases(es, uuid.uuid4().hex)
            feed = kind(es, TaskQueue(settings), leases, settings)
            running = asyncio.create_task(
                feed_process._follow(es, feed, leases, feed_process.Liveness(settings), settings)
            )
            try:
                await until(lambda: not is_ever_member or leases.me in members(stack))
                monkeypatch.setattr(feed_process, "_FAILING_SECONDS", 0.0)
                await until(lambda: not leases.can_work and leases.me not in members(stack))
                assert bool(leases._known) == is_ever_member
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await leases.resign()

    asyncio.run(act())


def test_a_process_that_works_again_is_a_member_again(stack: Stack) -> None:
    async def act() -> None:
        group = uuid.uuid4().hex
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            first, second = Leases(es, group), Leases(es, group)
            for leases in (first, second):
                await leases.join()
            await until(lambda: second.me in first.members, first, second)
            second.can_work = False
            await until(lambda: first.members == {first.me}, first, second)
            assert second.me in second.members
            second.can_work = True
            await until(lambda: first.members == second.members == {first.me, second.me}, first, second)
            for leases in (first, second):
                await leases.resign()

    asyncio.run(act())


@pytest.fixture
def indices(fault_stack: Stack, index_name: str) -> Iterator[list[str]]:
    names = [f"{index_name}-{number}" for number in range(INDICES)]
    for name in names:
        settings = {"number_of_replicas": 0, "number_of_shards": 1}
        fault_stack.es.indices.create(
            index=name, mappings={"properties": {"body": {"type": "text"}}}, settings=settings
        )
        fault_stack.attach(name, "body")
    yield names
    revive(fault_stack)
    for name in names:
        fault_stack.es.indices.delete(index=name)


def owners(stack: Stack) -> dict[str, str | None]:
    """The owner of each followed index, by the name of the index."""
    stack.es.indices.refresh(index=CHECKPOINTS_INDEX)
    hits = stack.es.search(index=CHECKPOINTS_INDEX, query={"exists": {"field": "uuid"}}, size=1000)["hits"]["hits"]
    return {hit["_source"]["index"]: hit["_source"].get("owner") for hit in hits if "shards" in hit["_source"]}


def is_even(stack: Stack, feeds: int) -> bool:
    """Whether this number of processes follows everything, and none more than 1.3 times the mean, or the next whole number."""
    counts = Counter(owners(stack).values())
    mean = counts.total() / feeds
    return (
        None not in counts
        and len(counts) == feeds
        and max(counts.values()) <= max(1.3 * mean, -(-counts.total() // feeds))
    )


def write(stack: Stack, indices: list[str], words: str) -> None:
    operations: list[dict[str, Any]] = []
    for name in indices:
        for number in range(DOCUMENTS):
            operations += [{"index": {"_index": name, "_id": str(number)}}, {"body": f"{words} {number} in {name}"}]
    assert not stack.es.bulk(operations=operations)["errors"]


def paused(stack: Stack, index: str) -> str:
    return str(stack.call("GET", f"/_esblend/indices/{index}/status")["paused"])


def test_indices_are_shared_while_feeds_come_and_go(fault_stack: Stack, indices: list[str], tmp_path: Path) -> None:
    def shown() -> str:
        return str(owners(fault_stack))

    redis = urlsplit(fault_stack.described["redis"])
    with ExitStack() as feeds:
        network = feeds.enter_context(BadNetwork(redis.hostname or "", redis.port or 0))
        own_redis = f"redis://127.0.0.1:{network.port}{redis.path}"
        second = feeds.enter_context(process(fault_stack, "esblend", "feed", place=tmp_path))
        feeds.enter_context(process(fault_stack, "esblend", "feed", place=tmp_path, ESBLEND_REDIS_URL=own_redis))
        write(fault_stack, indices, "for three")
        wait_for("an even division", lambda: is_even(fault_stack, 3), seconds=300, shows=shown)
        second.kill()
        write(fault_stack, indices, "for two")
        wait_for("a division without the dead one", lambda: is_even(fault_stack, 2), seconds=300, shows=shown)
        for name in indices:
            assert_vectors_of_present_texts(fault_stack, name, DOCUMENTS)
        network.cut()
        write(fault_stack, indices, "for one with Redis")
        wait_for("one feed that has Redis", lambda: is_even(fault_stack, 1), seconds=300, shows=shown)
        for name in indices:
            assert fault_stack.wait(name)["coverage"] == 1
        network.mend()
        wait_for("a division between two again", lambda: is_even(fault_stack, 2), seconds=300, shows=shown)
    reasons = {paused(fault_stack, name) for name in indices}
    assert reasons <= {"None", HAND_OVER}, "another feed runs"
    write(fault_stack, indices, "for the last")
    wait_for("one feed", lambda: is_even(fault_stack, 1), seconds=300, shows=shown)
    assert pids(fault_stack, "feed")
    for name in indices:
        assert_vectors_of_present_texts(fault_stack, name, DOCUMENTS)
