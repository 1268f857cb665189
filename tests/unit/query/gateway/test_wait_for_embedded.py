"""What a write that waits for its vectors makes of documents that it cannot read."""

import asyncio
import time
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, VectorOptions
from query.gateway.letters_of_writes import Letters
from query.gateway.wait_for_embedded import wait_until_embedded
from query.gateway.written_documents import Written
from tests.answering_server import answering_server

GENERATION = Generation(
    model=ModelIdentity(name="m", digest="d", dims=3), passages=PassageSettings(), vector=VectorOptions()
)
ATTACHMENT = Attachment(field="esblend", source_fields=["body"], active="g1", generations={"g1": GENERATION})


@pytest.mark.parametrize(
    ("item", "pending"),
    [
        ({"_id": "a", "error": {"type": "no_shard_available_action_exception", "reason": "no shard available"}}, 1),
        ({"_id": "a", "found": False}, 0),
        ({"_id": "a", "error": {"type": "index_not_found_exception", "reason": "no such index"}}, 0),
    ],
)
def test_only_a_document_that_is_gone_is_not_awaited(item: dict[str, Any], pending: int) -> None:
    async def act(url: str) -> dict[str, Any]:
        async with AsyncElasticsearch(url) as es:
            letters = Letters(es, {"articles": "u"})
            written = [Written("articles", "a", None, 1)]
            return await wait_until_embedded(es, {"articles": ATTACHMENT}, letters, written, deadline=time.monotonic())

    with answering_server(200, {"docs": [item]}) as url:
        result = asyncio.run(act(url))
    assert result == {
        "embedded": 0, "dead_letters": 0, "not_attached": 0, "pending": pending, "timed_out": bool(pending)
    }  # fmt: skip
