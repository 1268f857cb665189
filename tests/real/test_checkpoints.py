"""A checkpoint is written only over the version that its feed knows."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, ConnectionTimeout

from esblend.errors import IndexUnavailable
from esblend.settings import Settings
from indexer.feed import checkpoints, ownership
from indexer.feed.checkpoints import (
    Checkpoint,
    ShardCheckpoint,
    Version,
    claim_checkpoints,
    ensure_checkpoints_index,
    load_checkpoints,
    save_checkpoint,
)
from indexer.feed.discovery import AttachedIndex
from indexer.feed.feed import Feed
from indexer.feed.leases import Leases
from indexer.feed.saved_checkpoint import WHOLE_SHARDS, LeaseLostError, SavedCheckpoint
from indexer.feed.task_queue import TaskQueue
from mappings.attachment import Attachment
from tests.conftest import Stack

MINE = Checkpoint(index="articles", uuid="u", generation="g1", owner="me")
OTHERS = Checkpoint(index="books", uuid="v", generation="g1", owner="other")


@pytest.fixture
def bookkeeping_index(stack: Stack, index_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An index in place of the one that the stack's feed cleans up."""
    monkeypatch.setattr(checkpoints, "CHECKPOINTS_INDEX", index_name)
    yield index_name
    stack.es.options(ignore_status=404).indices.delete(index=index_name)


SHARDS = 4 * WHOLE_SHARDS


def at(live: int, history: str = "h1") -> ShardCheckpoint:
    return ShardCheckpoint(live=live, backfill=live, backfill_end=live, history=history)


async def saved_with_many_shards(es: AsyncElasticsearch) -> SavedCheckpoint:
    saved = SavedCheckpoint(es, MINE.model_copy(update={"shards": dict.fromkeys(range(SHARDS), at(-1))}), None)
    await saved.save_if_changed(at_once=True)
    return saved


async def save_moved(saved: SavedCheckpoint, *shards: int, live: int = 7) -> None:
    saved.update(shards=saved.checkpoint.shards | dict.fromkeys(shards, at(live)), updated_at=float(live))
    await saved.save_if_changed(at_once=True)


async def stored_checkpoint(es: AsyncElasticsearch, index: str) -> Checkpoint | None:
    """The whole document, as a feed of an earlier version reads it, too."""
    response = await es.get(index=index, id=MINE.id)
    return Checkpoint.model_validate(response["_source"])


@pytest.fixture
def written_shards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of positions in each write of a single document."""
    counts: list[int] = []
    perform = AsyncElasticsearch.perform_request

    async def record(es: AsyncElasticsearch, method: str, path: str, **options: Any) -> Any:
        body = options.get("body") or {}
        shards = body.get("doc", body).get("shards") if isinstance(body, dict) else None
        if shards is not None:
            counts.append(len(shards))
        return await perform(es, method, path, **options)

    monkeypatch.setattr(AsyncElasticsearch, "perform_request", record)
    return counts


def run(stack: Stack, act: Callable[[AsyncElasticsearch], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            await ensure_checkpoints_index(es)
            await act(es)

    asyncio.run(connected())


def test_a_process_whose_save_was_not_answered_keeps_its_index(stack: Stack, bookkeeping_index: str) -> None:
    """It knows the version before. With an index that it should release, nobody would follow it otherwise."""

    async def act(es: AsyncElasticsearch) -> None:
        known = await save_checkpoint(es, MINE, None, owner="me")
        assert await save_checkpoint(es, MINE, known, owner="me") != known
        released = MINE.model_copy(update={"owner": None})
        assert await save_checkpoint(es, released, known, owner="me")
        [(stored, _)] = (await load_checkpoints(es, [MINE.id])).values()
        assert stored == released

    run(stack, act)


def test_a_process_does_not_write_over_the_checkpoint_of_another(stack: Stack, bookkeeping_index: str) -> None:
    async def act(es: AsyncElasticsearch) -> None:
        known = await save_checkpoint(es, MINE, None, owner="me")
        await save_checkpoint(es, MINE.model_copy(update={"owner": "other"}), known, owner="other")
        assert await save_checkpoint(es, MINE, known, owner="me") is None

    run(stack, act)


def test_a_deleted_checkpoint_is_created_again(stack: Stack, bookkeeping_index: str) -> None:
    async def act(es: AsyncElasticsearch) -> None:
        known = await save_checkpoint(es, MINE, None, owner="me")
        await es.indices.delete(index=bookkeeping_index)
        assert await save_checkpoint(es, MINE, known, owner="me")

    run(stack, act)


def test_of_many_positions_the_changed_ones_are_written(
    stack: Stack, bookkeeping_index: str, written_shards: list[int]
) -> None:
    async def act(es: AsyncElasticsearch) -> None:
        saved = await saved_with_many_shards(es)
        await save_moved(saved, 3, 5)
        await saved.save_if_changed(at_once=True)  # nothing has changed
        await save_moved(saved, *range(SHARDS // 2))
        assert written_shards == [SHARDS, 2, SHARDS]
        assert await stored_checkpoint(es, bookkeeping_index) == saved.checkpoint

    run(stack, act)


def test_the_stored_checkpoint_is_whole_after_each_save(stack: Stack, bookkeeping_index: str) -> None:
    """Random positions move, some of them in another history, and the index pauses and continues."""
    choice = random.Random(22)

    async def act(es: AsyncElasticsearch) -> None:
        saved = await saved_with_many_shards(es)
        for turn in range(30):
            moved = choice.sample(range(SHARDS), choice.choice([0, 1, 3, SHARDS // 4, SHARDS // 4 + 1]))
            saved.update(
                shards=saved.checkpoint.shards | {shard: at(turn, choice.choice(["h1", "h2"])) for shard in moved},
                pending_since=choice.choice([None, 5.0]),
                paused_because=choice.choice([None, "any"]),
            )
            await saved.save_if_changed(at_once=True)
            stored = await stored_checkpoint(es, bookkeeping_index)
            assert stored is not None
            assert stored.shards == saved.checkpoint.shards
            assert (stored.pending_since is None) == (saved.checkpoint.pending_since is None)
            assert stored.paused_because == saved.checkpoint.paused_because

    run(stack, act)


def test_positions_are_not_written_into_the_checkpoint_of_another_process(stack: Stack, bookkeeping_index: str) -> None:
    """Also when that process is of an earlier version: it writes the whole document."""

    async def act(es: AsyncElasticsearch) -> None:
        saved = await saved_with_many_shards(es)
        [(stored, version)] = (await load_checkpoints(es, [MINE.id])).values()
        assert stored is not None
        others = stored.model_copy(update={"owner": "other", "shards": stored.shards | {9: at(99)}})
        assert await save_checkpoint(es, others, version, owner="other")
        with pytest.raises(LeaseLostError):
            await save_moved(saved, 3)
        assert await stored_checkpoint(es, bookkeeping_index) == others

    run(stack, act)


def test_after_positions_whose_save_was_not_answered_the_whole_checkpoint_is_written(
    stack: Stack, bookkeeping_index: str, written_shards: list[int]
) -> None:
    async def act(es: AsyncElasticsearch) -> None:
        saved = await saved_with_many_shards(es)
        known = saved._version
        await save_moved(saved, 3)
        saved._version = known
        await save_moved(saved, 5)
        assert written_shards == [SHARDS, 1, 1, SHARDS, SHARDS]  # over the known version, then over its own
        assert await stored_checkpoint(es, bookkeeping_index) == saved.checkpoint

    run(stack, act)


@pytest.mark.parametrize(("deleted", "moved"), [("document", 1), ("index", 1), ("index", SHARDS)])
def test_a_deleted_checkpoint_of_many_shards_is_written_as_a_whole(
    stack: Stack, bookkeeping_index: str, deleted: str, moved: int
) -> None:
    """By dynamic mapping, the positions of so many shards have more fields than Elasticsearch permits."""

    async def act(es: AsyncElasticsearch) -> None:
        saved = await saved_with_many_shards(es)
        if deleted == "index":
            await es.indices.delete(index=bookkeeping_index)
        else:
            await es.delete(index=bookkeeping_index, id=MINE.id)
        await save_moved(saved, *range(moved))
        assert await stored_checkpoint(es, bookkeeping_index) == saved.checkpoint
        mapping = await es.indices.get_mapping(index=bookkeeping_index)
        assert mapping[bookkeeping_index]["mappings"]["dynamic"] == "false"

    run(stack, act)


def test_of_many_claims_those_of_free_checkpoints_succeed(
    stack: Stack, bookkeeping_index: str, monkeypatch: pytest.MonkeyPatch
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


def test_checkpoints_that_cannot_be_read_do_not_count_as_missing(
    stack: Stack, index_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the feed would begin again at the first change, or take over the index of another process."""
    monkeypatch.setattr(checkpoints, "CHECKPOINTS_INDEX", index_name)

    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            assert await load_checkpoints(es, [MINE.id]) == {}  # without the index there is none
            await es.indices.create(
                index=index_name,
                settings={"index.routing.allocation.require._name": "nowhere"},
                wait_for_active_shards=0,
            )
            with pytest.raises(IndexUnavailable):
                await load_checkpoints(es, [MINE.id])

    try:
        asyncio.run(act())
    finally:
        stack.es.indices.delete(index=index_name)


@pytest.mark.parametrize("is_written", [True, False])
def test_a_claim_without_an_answer_is_released_when_another_process_is_to_follow(
    stack: Stack, bookkeeping_index: str, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    """Its checkpoint may name a process that does not follow the index, and nobody would follow it."""

    async def lost(es: AsyncElasticsearch, claims: Sequence[tuple[Checkpoint, Version | None]]) -> list[Version | None]:
        if is_written:
            await claim_checkpoints(es, claims)
        raise ConnectionTimeout("the answer is lost")

    async def act(es: AsyncElasticsearch) -> None:
        settings = Settings(es_url=stack.described["elasticsearch"], redis_url=stack.described["redis"])
        queue = TaskQueue(settings)
        feeds = [Feed(es, queue, Leases(es, "group"), settings) for _ in range(2)]
        first, second = (feed._leases.me for feed in feeds)
        attachment = Attachment(field="esblend", source_fields=["body"], active="g1", generations={})
        for feed in feeds:
            feed._discovery.attached = {MINE.id: AttachedIndex("articles", "u", "g1", attachment)}
            feed._leases.members_changed_at = time.monotonic() - 60
            monkeypatch.setattr(feed.ownership._shares, "of", lambda _, members: {MINE.id: sorted(members)[0]})
        feeds[0]._leases.members = frozenset({first})
        with monkeypatch.context() as patch:
            patch.setattr(ownership, "claim_checkpoints", lost)
            with pytest.raises(ConnectionTimeout):
                await feeds[0].ownership.take_over()
        # Both see another division now: the index is the second one's.
        for feed in feeds:
            feed._leases.members = frozenset({second})
        await feeds[0].ownership.take_over()
        await feeds[1].ownership.take_over()
        assert not feeds[0].feeds
        assert set(feeds[1].feeds) == {MINE.id}
        await feeds[0].ownership.take_over()
        assert not feeds[0].ownership._unanswered
        queue.close()

    run(stack, act)
