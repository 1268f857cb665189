"""How often the problems of indices are read."""

import asyncio

import pytest
from elasticsearch import AsyncElasticsearch

from indexer.feed import index_problems
from indexer.feed.index_problems import IndexProblems
from tests.answering_server import answering_server


def test_a_look_that_failed_is_soon_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without a response takes a minute. The next look would follow almost an hour later."""
    pauses: list[float] = []

    class EnoughError(Exception):
        """Ends the loop."""

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        raise EnoughError

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url, max_retries=0) as es:
            monkeypatch.setattr(index_problems, "_SHARE", 1e9)
            monkeypatch.setattr("indexer.feed.index_problems.asyncio.sleep", sleep)
            with pytest.raises(EnoughError):
                await IndexProblems(es, lambda: ["articles"], lambda: 1).keep()

    with answering_server(503, {"error": {"type": "any_exception", "reason": "any"}}) as url:
        asyncio.run(act(url))
    assert pauses == [index_problems._LOOK_SECONDS]
