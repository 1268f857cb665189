"""Only the shard stats of active and changed indices are read, and no change is missed."""

import asyncio
from collections.abc import Iterator

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.feed import shard_watch
from indexer.feed.shard_watch import ShardWatch
from mappings.dead_letter_index import DEAD_LETTERS_INDEX
from tests.conftest import Stack

SETTINGS = {"number_of_replicas": 0, "number_of_shards": 1}


@pytest.fixture
def names(stack: Stack, index_name: str) -> Iterator[list[str]]:
    indices = [f"{index_name}-{number}" for number in range(3)]
    for name in indices:
        stack.es.indices.create(index=name, settings=SETTINGS)
    yield indices
    stack.es.indices.delete(index=indices)


async def changed(watch: ShardWatch, names: list[str], *active: str) -> list[str]:
    """The result of a look for which the counters are due."""
    watch._counted_at = float("-inf")
    return sorted(await watch.look(set(names), set(active)))


@pytest.mark.parametrize("requests", [4, 0])
def test_a_look_reads_active_and_changed_indices(
    stack: Stack, names: list[str], requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their names, or with one request for all indices of the cluster."""
    monkeypatch.setattr(shard_watch, "_MAX_REQUESTS", requests)
    first, second, third = names

    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            watch = ShardWatch(es, DEAD_LETTERS_INDEX)
            assert await changed(watch, names) == names
            assert await changed(watch, names) == []
            assert await changed(watch, names, third) == [third]
            await es.index(index=second, id="a", document={"body": "new"})
            assert await changed(watch, names, third) == [second, third]
            assert watch.shards[second].shards[0].global_checkpoint == 0
            assert watch.shards[second].is_settled
            await es.delete(index=second, id="a")
            assert await changed(watch, names) == [second]
            await es.indices.close(index=first)
            assert await changed(watch, names) == [first]
            assert first not in watch.shards
            assert await changed(watch, names) == []
            await es.indices.open(index=first)
            assert await changed(watch, names) == [first]
            await es.indices.delete(index=third)
            assert await changed(watch, names) == [third]
            await es.indices.create(index=third, settings=SETTINGS)
            assert await changed(watch, names) == [third]

    asyncio.run(act())


def test_a_change_of_the_cluster_state_is_a_look_at_all_shards(stack: Stack, names: list[str]) -> None:
    """The counters would not show it, because they have not been read again."""

    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            watch = ShardWatch(es, DEAD_LETTERS_INDEX)
            assert await changed(watch, names) == names
            await es.index(index=names[0], id="a", document={"body": "new"})
            watch._counted_at = float("inf")
            assert await watch.look(set(names), set()) == set()
            watch.suspect_all()
            watch._all_seconds = 0.0
            assert await watch.look(set(names), set()) == {names[0]}

    asyncio.run(act())


def test_a_change_that_could_not_be_read_is_found_again(
    stack: Stack, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise OSError("any")

    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            watch = ShardWatch(es, DEAD_LETTERS_INDEX)
            assert await changed(watch, names) == names
            await es.index(index=names[0], id="a", document={"body": "new"})
            with monkeypatch.context() as patch:
                patch.setattr(shard_watch, "read_shards", fails)
                with pytest.raises(OSError, match="any"):
                    await changed(watch, names)
            assert await changed(watch, names) == [names[0]]

    asyncio.run(act())
