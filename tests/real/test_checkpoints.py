"""A checkpoint is written only over the version that its feed knows."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.feed import checkpoints
from indexer.feed.checkpoints import (
    Checkpoint,
    Version,
    claim_checkpoints,
    ensure_checkpoints_index,
    load_checkpoints,
    save_checkpoint,
)
from tests.conftest import Stack

MINE = Checkpoint(index="articles", uuid="u", generation="g1", owner="me")
OTHERS = Checkpoint(index="books", uuid="v", generation="g1", owner="other")


@pytest.fixture
def place(stack: Stack, index_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An index in place of the one that the stack's feed cleans up."""
    monkeypatch.setattr(checkpoints, "CHECKPOINTS_INDEX", index_name)
    yield index_name
    stack.es.options(ignore_status=404).indices.delete(index=index_name)


def run(stack: Stack, act: Callable[[AsyncElasticsearch], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            await ensure_checkpoints_index(es)
            await act(es)

    asyncio.run(connected())


def test_a_process_whose_save_was_not_answered_keeps_its_index(stack: Stack, place: str) -> None:
    """It knows the version before. With an index that it should release, nobody would follow it otherwise."""

    async def act(es: AsyncElasticsearch) -> None:
        known = await save_checkpoint(es, MINE, None, owner="me")
        assert await save_checkpoint(es, MINE, known, owner="me") != known
        released = MINE.model_copy(update={"owner": None})
        assert await save_checkpoint(es, released, known, owner="me")
        [(stored, _)] = (await load_checkpoints(es, [MINE.id])).values()
        assert stored == released

    run(stack, act)


def test_a_process_does_not_write_over_the_checkpoint_of_another(stack: Stack, place: str) -> None:
    async def act(es: AsyncElasticsearch) -> None:
        known = await save_checkpoint(es, MINE, None, owner="me")
        await save_checkpoint(es, MINE.model_copy(update={"owner": "other"}), known, owner="other")
        assert await save_checkpoint(es, MINE, known, owner="me") is None

    run(stack, act)


def test_a_deleted_checkpoint_is_created_again(stack: Stack, place: str) -> None:
    async def act(es: AsyncElasticsearch) -> None:
        known = await save_checkpoint(es, MINE, None, owner="me")
        await es.indices.delete(index=place)
        assert await save_checkpoint(es, MINE, known, owner="me")

    run(stack, act)


def test_of_many_claims_those_of_free_checkpoints_succeed(
    stack: Stack, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_CLAIMS_PER_REQUEST", 2)

    async def act(es: AsyncElasticsearch) -> None:
        known = await save_checkpoint(es, OTHERS, None, owner="other")
        claims: list[tuple[Checkpoint, Version | None]] = [
            (MINE, None),
            (OTHERS.model_copy(update={"owner": "me"}), None),
            (OTHERS.model_copy(update={"owner": "me"}), known),
        ]
        versions = await claim_checkpoints(es, claims)
        assert [version is not None for version in versions] == [True, False, True]
        stored = await load_checkpoints(es, [MINE.id, OTHERS.id])
        assert {checkpoint.owner for checkpoint, _ in stored.values() if checkpoint} == {"me"}
        assert [version for _, version in stored.values()] == [versions[0], versions[2]]
        assert await claim_checkpoints(es, []) == []

    run(stack, act)
