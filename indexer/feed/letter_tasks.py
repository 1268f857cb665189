"""Makes tasks of operators' requests on dead letters.

requests after the last position -> of an index that this process follows -> one task each, at most a thousand at a time
                                \\-> of an index or generation that is gone -> the letter is deleted

Without requests, nothing is read until the counters of writes of the letters' index change.

The positions go round: letters that nobody can process, as those of a closed index, do not keep others waiting.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from elasticsearch import AsyncElasticsearch

from esblend.broker import EmbedTask
from indexer.care.letter_requests import FROM_START, MOST_REQUESTS, Request, discard, requests, unfinished
from indexer.feed.checkpoints import checkpoint_id
from indexer.feed.discovery import REQUEST_AGAIN_SECONDS, Discovery
from indexer.feed.index_feed import IndexFeed
from indexer.feed.task_queue import TaskQueue
from mappings.attachment_copies import attachment_state
from mappings.dead_letter_index import DROP

_WATCH_SECONDS = 10.0
"""By then, a search sees a request that was counted. While the counters are unknown, each of these periods has one search."""


class LetterTasks:
    """Remembers the requests that have a task. One without effect gets another task after a while."""

    def __init__(self, es: AsyncElasticsearch, queue: TaskQueue, discovery: Discovery) -> None:
        self._es = es
        self._queue = queue
        self._discovery = discovery
        self._sent_at: dict[str, float] = {}
        self._position = FROM_START
        self._has_requests = True
        self._counters: Any = None
        self._counted_at = self._looked_at = float("-inf")

    def is_due(self, counters: Any) -> bool:
        """Whether there may be requests. `counters`: of the writes to the letters' index; None when they are unknown."""
        now = time.monotonic()
        if counters != self._counters:
            self._counters, self._counted_at = counters, now
        is_recent = now - self._counted_at < _WATCH_SECONDS
        is_unknown = counters is None and now - self._looked_at >= _WATCH_SECONDS
        return self._has_requests or bool(self._sent_at) or is_recent or is_unknown

    async def send(self, feeds: Mapping[str, IndexFeed]) -> None:
        """Send tasks for the next requests on documents that these feeds follow."""
        now = self._looked_at = time.monotonic()
        self._has_requests = True  # also after an error
        recent = {letter: sent for letter, sent in self._sent_at.items() if now - sent <= REQUEST_AGAIN_SECONDS}
        present = await unfinished(self._es, recent.keys())
        self._sent_at = {letter: sent for letter, sent in recent.items() if letter in present}
        asked, position = await requests(self._es, self._position)
        self._has_requests = bool(asked) or self._position != FROM_START
        orphans: list[str] = []
        is_orphan: dict[str, bool] = {}
        for request in asked:
            key = checkpoint_id(request.uuid, request.generation)
            if key not in self._discovery.attached:
                if key not in is_orphan:
                    is_orphan[key] = await self._is_orphan(request)
                if is_orphan[key]:
                    orphans.append(request.letter)
            elif key in feeds and request.letter not in self._sent_at:
                if len(self._sent_at) >= MOST_REQUESTS:
                    break  # live changes use the same queue
                await self._send(feeds[key].index, request)
                self._sent_at[request.letter] = now
            self._position = request.position
        else:
            self._position = position
        await discard(self._es, orphans)

    async def _send(self, index: str, request: Request) -> None:
        task = EmbedTask(
            index=index, uuid=request.uuid, generation=request.generation, documents=[request.document],
            action="drop" if request.action == DROP else "renew",
        )  # fmt: skip
        await asyncio.to_thread(self._queue.send, "live", task)

    async def _is_orphan(self, request: Request) -> bool:
        """Whether the generation of a letter is gone for good: not while its index is closed or has lost its attachment."""
        if any(index.uuid == request.uuid for index in self._discovery.attached.values()):
            return True
        return await attachment_state(self._es, request.index, request.uuid) == "detached"
