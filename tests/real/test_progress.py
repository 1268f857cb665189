"""A wait for coverage watches the checkpoint, and reads the status again when it moved."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.care import progress
from indexer.care.progress import Progress
from indexer.care.status import ShardGroup, _counts
from mappings.index_lookup import find_attached
from tests.conftest import Stack

LONG = 600.0


def test_a_wait_ends_when_the_feed_has_saved_its_progress(
    stack: Stack, make_index: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_ANYWAY_SECONDS", LONG)
    index = make_index({"body": "a text"})
    stack.attach(index, "body")
    stack.wait(index)

    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            watched = Progress(es, index)
            seen = await watched.version()
            assert seen is not None
            assert seen >= 0
            waiting = asyncio.create_task(watched.wait(seen, LONG))
            await es.index(index=index, id="new", document={"body": "another text"})
            await asyncio.wait_for(waiting, 120)
            assert await watched.version() != seen

    asyncio.run(act())


def test_a_wait_for_the_end_goes_on_while_changes_are_pending(
    stack: Stack, make_index: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status would only count that it is not covered yet."""
    checkpoints = make_index(properties={})
    monkeypatch.setattr(progress, "CHECKPOINTS_INDEX", checkpoints)
    monkeypatch.setattr(progress, "_ANYWAY_SECONDS", LONG)
    monkeypatch.setattr(progress, "_PENDING_SECONDS", LONG)
    saved: list[float | None] = [1.0, 1.0, None, 1.0]

    async def act(until_done: bool) -> int:
        """The number of versions that a wait saw."""
        versions = iter(saved)
        count = 0
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            watched = Progress(es, "articles", until_done=until_done)
            watched._checkpoint = "articles-g1"
            read = watched.version

            async def save_and_read() -> int | None:
                nonlocal count
                count += 1
                await es.index(index=checkpoints, id="articles-g1", document={"pending_since": next(versions)})
                return await read()

            monkeypatch.setattr(watched, "version", save_and_read)
            await watched.wait(0, LONG)
        return count

    stack.es.index(index=checkpoints, id="articles-g1", document={"pending_since": None})
    assert asyncio.run(act(until_done=True)) == 3
    assert asyncio.run(act(until_done=False)) == 1


@pytest.mark.parametrize("is_attached", [True, False])
def test_without_a_checkpoint_a_wait_is_short(stack: Stack, make_index: Callable[..., str], is_attached: bool) -> None:
    """The checkpoints of an index that is not attached, or not readable, say nothing."""
    index = make_index({"body": "a text"})
    if is_attached:
        stack.attach(index, "body")

    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            watched = Progress(es, index if is_attached else f"no-{index}")
            if not is_attached:
                assert await watched.version() is None
            await asyncio.wait_for(watched.wait(None, LONG), 120)

    asyncio.run(act())


def test_an_alias_with_routing_has_no_documents_in_other_shards(stack: Stack, make_index: Callable[..., str]) -> None:
    """While changes are pending, each shard needs its own counting search."""
    index = make_index(*({"body": f"text {number}"} for number in range(8)))
    alias = f"routed-{index}"
    stack.es.indices.put_alias(index=index, name=alias, routing="one")
    stack.attach(index, "body")
    stack.wait(index)

    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            attachment = (await find_attached(es, alias)).attachment
            nothing: dict[str, Any] = {"match_none": {}}
            together = await _counts(es, alias, attachment, [ShardGroup(None, nothing)])
            assert 0 < together["documents"] < 8
            assert (
                await _counts(es, alias, attachment, [ShardGroup((shard,), nothing) for shard in range(2)]) == together
            )

    asyncio.run(act())
