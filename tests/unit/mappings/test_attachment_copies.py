"""Copies of all attachments are written in a few requests: each feed writes them when it starts."""

import asyncio
from typing import Any, ClassVar

from elasticsearch import AsyncElasticsearch

from mappings.attachment import Attachment
from mappings.attachment_copies import AttachmentCopies
from tests.answering_server import answering_server

ATTACHMENT = Attachment(field="esblend", source_fields=["body"], active="g1", generations={})
SHARDS = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}


class CountingElasticsearch(AsyncElasticsearch):
    """Notes the path of each request."""

    paths: ClassVar[list[str]] = []

    async def perform_request(self, method: str, path: str, *args: Any, **options: Any) -> Any:
        self.paths.append(path)
        return await super().perform_request(method, path, *args, **options)


def test_the_copies_of_many_attachments_are_written_together_and_rejected_ones_again() -> None:
    attached = {f"u{number}": (f"index{number}", ATTACHMENT) for number in range(300)}
    items = [{"index": {}}] * 299 + [{"index": {"error": {"type": "any_exception"}}}]

    async def act(url: str) -> AttachmentCopies:
        async with CountingElasticsearch(url) as es:
            copies = AttachmentCopies(es)
            await copies.save(attached)
            return copies

    with answering_server(200, {"items": items, "hits": {"hits": []}, "_shards": SHARDS}) as url:
        copies = asyncio.run(act(url))
    assert [path for path in CountingElasticsearch.paths if "_bulk" in path] == ["/esblend-checkpoints/_bulk"]
    assert not [path for path in CountingElasticsearch.paths if "_doc" in path]
    assert attached.keys() - copies._saved.keys() == {"u299"}
