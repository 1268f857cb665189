"""A wait for coverage watches the checkpoint, and reads the status again when it moved."""

import asyncio
from collections.abc import Callable

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.care import progress
from indexer.care.progress import Progress
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
