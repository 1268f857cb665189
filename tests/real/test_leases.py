"""A feed process without others looks for them only when somebody else has written to the checkpoints index."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.feed import checkpoints, leases, members
from indexer.feed.checkpoints import Checkpoint, save_checkpoint
from indexer.feed.leases import Leases
from tests.conftest import Stack


@pytest.fixture
def bookkeeping_index(stack: Stack, index_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An index in place of the one in which the stack's feed has its heartbeat."""
    for module in (checkpoints, leases, members):
        monkeypatch.setattr(module, "CHECKPOINTS_INDEX", index_name)
    yield index_name
    stack.es.options(ignore_status=404).indices.delete(index=index_name)


def run(stack: Stack, act: Callable[[AsyncElasticsearch, Leases], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            first = Leases(es, "group")
            await first.join()
            await first.beat()
            await first.look()  # because of its own entry in the list of members
            await act(es, first)

    asyncio.run(connected())


def test_a_process_alone_does_not_look(stack: Stack, bookkeeping_index: str) -> None:
    async def act(_: AsyncElasticsearch, first: Leases) -> None:
        for _ in range(3):
            await first.beat()
            assert not first.must_look

    run(stack, act)


def test_a_process_that_joins_is_seen_at_once(stack: Stack, bookkeeping_index: str) -> None:
    async def act(es: AsyncElasticsearch, first: Leases) -> None:
        second = Leases(es, "group")
        await second.join()
        await first.beat()
        assert first.must_look
        await first.look()
        assert first.members == {first.me, second.me}
        await first.beat()
        assert first.must_look  # as long as there is another one

    run(stack, act)


def test_any_other_write_is_seen(stack: Stack, bookkeeping_index: str) -> None:
    async def act(es: AsyncElasticsearch, first: Leases) -> None:
        await save_checkpoint(es, Checkpoint(index="articles", uuid="u", generation="g1"), None, owner=None)
        await first.beat()
        assert first.must_look
        await first.look()
        await first.beat()
        assert not first.must_look

    run(stack, act)


def test_a_process_that_cannot_work_any_more_looks_in_order_to_leave(stack: Stack, bookkeeping_index: str) -> None:
    async def act(_: AsyncElasticsearch, first: Leases) -> None:
        first.can_work = False
        assert first.must_look

    run(stack, act)


def test_a_deleted_index_is_created_again_with_its_settings(stack: Stack, bookkeeping_index: str) -> None:
    async def act(es: AsyncElasticsearch, first: Leases) -> None:
        await es.indices.delete(index=bookkeeping_index)
        await first.beat()
        assert first.must_look
        created = (await es.indices.get(index=bookkeeping_index, flat_settings=True))[bookkeeping_index]
        assert created["settings"]["index.hidden"] == "true"
        assert created["mappings"]["properties"]["uuid"] == {"type": "keyword"}
        await first.look()
        assert (await es.exists(index=bookkeeping_index, id=members.MEMBERS_ID)).body

    run(stack, act)
