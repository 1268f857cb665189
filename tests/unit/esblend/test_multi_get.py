"""What the items of an `_mget` say about their documents."""

import asyncio
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from esblend.errors import IndexUnavailable
from esblend.multi_get import existing
from indexer.care.feed_life import read_feed_life
from indexer.care.letter_requests import unfinished
from indexer.feed.checkpoints import load_checkpoints
from mappings.mean_vector_store import load_mean_vectors
from tests.answering_server import answering_server

FAILED = {"_id": "a", "error": {"type": "no_shard_available_action_exception", "reason": "no shard available"}}


def test_a_document_exists_when_it_was_found() -> None:
    no_index = {"_id": "c", "error": {"type": "index_not_found_exception", "reason": "no such index"}}
    document = {"_id": "a", "found": True}
    assert existing([document, {"_id": "b", "found": False}, no_index], "articles") == [document]


def test_an_error_is_not_a_missing_document() -> None:
    with pytest.raises(IndexUnavailable, match="no shard available"):
        existing([FAILED], "articles")


@pytest.mark.parametrize(
    "read",
    [
        lambda es: load_checkpoints(es, ["a"]),
        lambda es: load_mean_vectors(es, ["a"]),
        lambda es: unfinished(es, ["a"]),
        lambda es: read_feed_life(es, "a"),
    ],
)
def test_esblends_own_documents_that_cannot_be_read_are_an_error(read: Any) -> None:
    async def act(url: str) -> None:
        async with AsyncElasticsearch(url) as es:
            with pytest.raises(IndexUnavailable):
                await read(es)

    with answering_server(200, {"docs": [FAILED]}) as url:
        asyncio.run(act(url))
