"""The feed's own documents and connections: nothing is deleted by mistake, nothing is left behind."""

import asyncio
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from elasticsearch import AsyncElasticsearch
from redis import Redis

from indexer.feed.checkpoints import CHECKPOINTS_INDEX, checkpoint_id, delete_stale_checkpoints
from indexer.feed.shard_changes import IndexShards, read_shards
from mappings.index_lookup import read_attachments
from tests.conftest import Stack
from tests.real.faults import wait_for


def uuid_of(stack: Stack, index: str) -> str:
    return str(stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"])


def test_an_index_that_the_feed_does_not_see_keeps_its_checkpoint(stack: Stack, make_index: Callable[..., str]) -> None:
    """As after a role has lost `view_index_metadata`: the list of attached indices is empty."""
    index = make_index({"body": "text"})
    stack.attach(index, "body")
    stack.wait(index)
    checkpoint = checkpoint_id(uuid_of(stack, index), "g1")
    gone = checkpoint_id("no-such-uuid", "g1")
    document = {"format": 1, "index": "no-such-index", "uuid": "no-such-uuid", "generation": "g1"}
    stack.es.index(index=CHECKPOINTS_INDEX, id=gone, document=document, refresh=True)

    async def delete() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            await delete_stale_checkpoints(es, set(), set(), set())

    asyncio.run(delete())
    assert stack.es.exists(index=CHECKPOINTS_INDEX, id=checkpoint)
    assert not stack.es.exists(index=CHECKPOINTS_INDEX, id=gone)


def test_a_closed_index_has_no_shards_that_a_feed_could_read(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "text"})
    stack.es.indices.close(index=index)

    async def read() -> dict[str, IndexShards]:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            return await read_shards(es, [index])

    assert asyncio.run(read()) == {}
    stack.es.indices.open(index=index)
    wait_for("the shards", lambda: set(asyncio.run(read())) == {index})


def test_system_indices_are_not_asked_for_their_mappings(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "text"})
    stack.attach(index, "body")
    task = stack.es.reindex(
        source={"index": index}, dest={"index": index}, conflicts="proceed", wait_for_completion=False
    )["task"]
    wait_for("the system index", lambda: stack.es.tasks.get(task_id=task)["completed"])

    async def read() -> set[str]:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            return set(await read_attachments(es))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert index in asyncio.run(read())


def test_results_leave_nothing_in_redis(stack: Stack, make_index: Callable[..., str], tmp_path: Path) -> None:
    """Results of other tests' tasks, whose indices were deleted, may be there before; they expire."""
    with Redis.from_url(stack.described["redis"]) as redis:

        def keys() -> set[bytes]:
            return {
                key
                for pattern in ("celery-task-meta-*", "esblend:held:*", "esblend:reports:*")
                for key in redis.scan_iter(pattern)
            }

        before = keys()
        index = make_index(*({"body": f"text {number}"} for number in range(40)))
        stack.attach(index, "body")
        stack.wait(index)
        assert redis.pubsub_channels("celery-task-meta-*") == []
        wait_for("the results to be collected", lambda: keys() <= before)


def test_a_quiet_feed_leaves_recent_changes_alone(stack: Stack, make_index: Callable[..., str]) -> None:
    from indexer.feed.quiet_period import QuietPeriod

    index = make_index({"body": "text"}, number_of_shards=1)
    quiet = QuietPeriod(1.0)

    def readable() -> int:
        stats = stack.es.indices.stats(index=index, level="shards")
        [copy] = stats["indices"][index]["shards"]["0"]
        return quiet.readable(0, copy["seq_no"]["global_checkpoint"], time.monotonic())

    began = time.monotonic()
    assert readable() == -1
    wait_for("the change to be old enough", lambda: readable() == 0)
    assert time.monotonic() - began >= 1.0
