"""A feed at rest asks Elasticsearch to answer when the metadata changes."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from elasticsearch import AsyncElasticsearch

from esblend.settings import Settings
from indexer.feed.discovery import Discovery
from indexer.feed.metadata_watch import MetadataWatch
from indexer.feed.task_queue import TaskQueue
from tests.conftest import Stack


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1200):
        if await holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("waited for a minute")


def test_a_wait_ends_with_the_next_change(stack: Stack, index_name: str) -> None:
    async def act() -> None:
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            watch = MetadataWatch(es)

            async def is_present() -> bool:
                """Whether the version that was found is the last one: the stack may change something meanwhile."""
                return await watch.find() and not await watch._is_reached(watch._version + 1, "1ms")

            await until(is_present)
            before = watch._version
            watch.start()
            assert watch.is_waiting
            await es.indices.create(index=index_name)
            await asyncio.wait_for(watch._wait, 60)  # type: ignore[arg-type]
            assert not watch.is_waiting
            await until(is_present)
            assert watch._version > before
            watch.start()
            await watch.stop()
            assert not watch.is_waiting

    try:
        asyncio.run(act())
    finally:
        stack.es.indices.delete(index=index_name)


def test_a_look_at_rest_sends_no_request_and_sees_the_next_attachment(
    stack: Stack, make_index: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.feed.discovery._CALM_SECONDS", 0)
    settings = Settings(es_url=stack.described["elasticsearch"], redis_url=stack.described["redis"])
    index = make_index({"body": "text"})

    async def act() -> None:
        queue = TaskQueue(settings)
        async with AsyncElasticsearch(stack.described["elasticsearch"]) as es:
            discovery = Discovery(es, queue)

            async def rests() -> bool:
                return not await discovery.look(is_at_rest=True) and discovery._metadata.is_waiting

            async def sees_it() -> bool:
                await discovery.look(is_at_rest=True)
                return index in {attached.index for attached in discovery.attached.values()}

            try:
                await until(rests)
                await asyncio.to_thread(stack.attach, index, "body")
                await until(sees_it)
            finally:
                await discovery.stop()
                queue.close()

    asyncio.run(act())
