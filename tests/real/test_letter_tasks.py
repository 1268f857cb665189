"""Requests on dead letters get their turn, whatever other letters wait for."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch

from esblend.broker import DocumentRef, Lane
from esblend.settings import Settings
from indexer.care import letter_requests
from indexer.feed import letter_tasks
from indexer.feed.checkpoints import Checkpoint, checkpoint_id
from indexer.feed.credit import Credit
from indexer.feed.discovery import AttachedIndex, Discovery
from indexer.feed.index_feed import IndexFeed
from indexer.feed.letter_tasks import LetterTasks
from indexer.feed.task_queue import TaskQueue
from mappings.attachment import Attachment
from mappings.dead_letter_index import DEAD_LETTERS_MAPPINGS, DEAD_LETTERS_SETTINGS
from tests.conftest import Stack

MOST = 3


class RecordedQueue(TaskQueue):
    """A queue without Redis."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.sent: list[str] = []

    def send(self, lane: Lane, task: Any, task_id: str | None = None, changes: Sequence[DocumentRef] = ()) -> str:
        self.sent += [document.id for document in task.documents]
        return str(task_id)


async def no_reports() -> None:
    pass


def test_letters_of_a_closed_index_do_not_keep_others_waiting(
    stack: Stack, make_index: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index()
    stack.attach(index, "body")
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    stack.es.indices.close(index=index)
    letters = f"{index}-letters"  # the stack's feed does not read it
    stack.es.indices.create(index=letters, mappings=DEAD_LETTERS_MAPPINGS, settings=DEAD_LETTERS_SETTINGS)
    for module in (letter_requests, letter_tasks):
        monkeypatch.setattr(module, "MOST_REQUESTS", MOST)
    monkeypatch.setattr(letter_requests, "DEAD_LETTERS_INDEX", letters)
    closed = [{"uuid": uuid, "index": index, "id": f"closed-{number}"} for number in range(2 * MOST)]
    others = [{"uuid": "u", "index": "articles", "id": f"open-{number}"} for number in range(MOST + 1)]
    for letter in [*closed, *others]:
        stack.es.index(index=letters, id=letter["id"], document={"generation": "g1", "action": "retry", **letter})
    stack.es.indices.refresh(index=letters)

    async def act() -> None:
        settings = Settings(es_url=stack.described["elasticsearch"])
        async with AsyncElasticsearch(settings.es_url) as es:
            queue = RecordedQueue()
            discovery = Discovery(es, queue)
            attachment = Attachment(field="esblend", source_fields=["body"], active="g1", generations={})
            key = checkpoint_id("u", "g1")
            discovery.attached = {key: AttachedIndex("articles", "u", "g1", attachment)}
            checkpoint = Checkpoint(index="articles", uuid="u", generation="g1")
            feed = IndexFeed(checkpoint, None, es, queue, settings, Credit(), no_reports)
            tasks = LetterTasks(es, queue, discovery)
            for _ in range(4):
                await tasks.send({key: feed})
            assert queue.sent == ["open-0", "open-1", "open-2"], "no more at a time, beside live changes"
            stack.es.update(index=letters, id="open-1", script="ctx._source.remove('action')", refresh=True)
            for _ in range(4):
                await tasks.send({key: feed})
            assert queue.sent == ["open-0", "open-1", "open-2", "open-3"]

    try:
        asyncio.run(act())
    finally:
        stack.es.indices.delete(index=letters)
