"""A wait for coverage while Elasticsearch does not answer."""

import asyncio

from elasticsearch import AsyncElasticsearch

from indexer.care.progress import Progress


def test_a_request_without_an_answer_does_not_end_a_wait() -> None:
    """The status follows, and reports the failure if it lasts."""

    async def act() -> None:
        async with AsyncElasticsearch("http://127.0.0.1:9", max_retries=0) as es:
            progress = Progress(es, "articles")
            progress._checkpoint = "u-g1"
            assert await progress.version() is None
            await progress.wait(5, 600)

    asyncio.run(act())
