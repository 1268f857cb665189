"""How the version of the metadata is found."""

import asyncio
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.feed.metadata_watch import MetadataWatch


class Server(MetadataWatch):
    """Answers as Elasticsearch does at these versions of the metadata and of the cluster state."""

    def __init__(self, metadata: int, state: int) -> None:
        super().__init__(AsyncElasticsearch("http://127.0.0.1:9"))
        self.metadata, self.state, self.requests = metadata, state, 0

    async def _state(self, version: int, wait: str) -> dict[str, Any]:
        self.requests += 1
        return {"version": self.state, **({"wait_for_timed_out": True} if version > self.metadata else {})}


@pytest.mark.parametrize("first", [1, 2, 700, 999, 1000])
@pytest.mark.parametrize("changes", [0, 1, 2, 3, 5, 6, 7, 100])
def test_the_version_is_found_again_after_changes(first: int, changes: int) -> None:
    async def act() -> None:
        server = Server(first, 1000)
        assert await server.find()
        assert server._version == first
        server.metadata, server.state, server.requests = first + changes, 1000 + changes, 0
        assert await server.find()
        assert server._version == first + changes
        assert server.requests <= 2 + (changes > 0) * (4 + 2 * changes.bit_length())

    asyncio.run(act())


def test_an_earlier_version_is_found_too() -> None:
    """Another cluster has the same address now."""

    async def act() -> None:
        server = Server(700, 1000)
        assert await server.find()
        server.metadata = 30
        assert await server.find()
        assert server._version == 30

    asyncio.run(act())


def test_a_server_that_does_not_wait_is_not_asked_again() -> None:
    async def act() -> None:
        server = Server(10**12, 1000)
        assert not await server.find()
        server.requests = 0
        assert not await server.find()
        assert server.requests == 0

    asyncio.run(act())
