"""The change feed process: finds attached indices, follows each, and survives whatever is away for a while.

Elasticsearch: attached indices, global checkpoints, changes  ->  tasks in Redis  ->  results  ->  checkpoints
"""

import asyncio
import contextlib
import signal
import time

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from esblend.elastic import back_off, connect_async, is_passing, wait_for_elasticsearch_async
from esblend.logs import configure_logging
from esblend.ready import announce_ready, forget_ready
from esblend.settings import Settings
from indexer.changes import read_shards
from indexer.checkpoints import (
    Checkpoint,
    checkpoint_id,
    delete_checkpoints_but,
    ensure_checkpoints_index,
    load_checkpoint,
)
from indexer.index_feed import IndexFeed
from indexer.queue import TaskQueue
from mappings.attach import attachments

log = structlog.get_logger()
_BUSY_POLL_SECONDS = 0.1
_ABANDONED_CHECK_SECONDS = 3.0


class Feed:
    """All attached indices, one `IndexFeed` for each generation."""

    def __init__(self, es: AsyncElasticsearch, queue: TaskQueue, settings: Settings) -> None:
        self._es = es
        self._queue = queue
        self._settings = settings
        self._feeds: dict[str, IndexFeed] = {}
        self._discovered = float("-inf")
        self._looked_for_abandoned = 0.0
        self._suspects: set[str] = set()

    @property
    def is_busy(self) -> bool:
        return any(feed.is_busy for feed in self._feeds.values())

    async def step(self) -> None:
        """One round: results in, new attachments, changes out."""
        await self._recover_lost_tasks()
        await self._collect()
        if time.monotonic() - self._discovered >= self._settings.feed_discovery_seconds:
            await self._discover()
            self._discovered = time.monotonic()
        shards = await read_shards(self._es, sorted({feed.index for feed in self._feeds.values()}))
        for feed in self._feeds.values():
            present = shards.get(feed.index)
            if present is None or present.uuid != feed.checkpoint.uuid:
                self._discovered = float("-inf")  # deleted, closed or made anew: look at once
                continue
            try:
                await feed.step(present)
            except ApiError as error:
                if is_passing(error):
                    raise
                # One index that cannot be read must not hold the others up.
                feed.pause(f"it cannot be read: {error.error}")

    async def _discover(self) -> None:
        attached = await attachments(self._es)
        shards = await read_shards(self._es, sorted(attached))
        wanted: dict[str, tuple[str, str, str]] = {}
        for index, attachment in attached.items():
            if index in shards:
                for generation in attachment.generations:
                    wanted[checkpoint_id(shards[index].uuid, generation)] = (index, shards[index].uuid, generation)
        is_changed = self._feeds.keys() != wanted.keys()
        for key in self._feeds.keys() - wanted.keys():
            log.info("no longer following", index=self._feeds.pop(key).index)
        for key in wanted.keys() - self._feeds.keys():
            index, uuid, generation = wanted[key]
            known = await load_checkpoint(self._es, uuid, generation)
            self._feeds[key] = IndexFeed(
                known or Checkpoint(index=index, uuid=uuid, generation=generation),
                self._es, self._queue, self._settings,
            )  # fmt: skip
            log.info("following", index=index, generation=generation, resumed=known is not None)
        # A closed index, or one whose primaries are away, keeps its checkpoint.
        if is_changed and not attached.keys() - shards.keys():
            await delete_checkpoints_but(self._es, set(wanted))

    async def _collect(self) -> None:
        for feed in self._feeds.values():
            if feed.is_busy:
                for outcome in await asyncio.to_thread(self._queue.collect, feed.tasks):
                    feed.finish(outcome)

    async def _recover_lost_tasks(self) -> None:
        """Send again what an emptied Redis or a killed worker lost. What is sent twice by mistake does no harm."""
        if await asyncio.to_thread(self._queue.was_emptied):
            if self.is_busy:
                log.warning("Redis was emptied; unfinished changes will be read again")
            for feed in self._feeds.values():
                feed.forget_unfinished()
            await asyncio.to_thread(self._queue.mark)
        if time.monotonic() - self._looked_for_abandoned < _ABANDONED_CHECK_SECONDS:
            return
        self._looked_for_abandoned = time.monotonic()
        suspects: set[str] = set()
        for key, feed in self._feeds.items():
            if feed.oldest_task_age() > self._settings.feed_task_timeout_seconds:
                log.warning("a task takes too long; its changes will be read again", index=feed.index)
                feed.forget_unfinished()
            elif feed.is_busy and await asyncio.to_thread(self._queue.are_abandoned, feed.tasks):
                # Twice in a row: a task may be on its way from the queue to the worker just now.
                if key in self._suspects:
                    log.warning("a worker was lost; its changes will be read again", index=feed.index)
                    feed.forget_unfinished()
                else:
                    suspects.add(key)
        self._suspects = suspects


async def run_feed(settings: Settings) -> None:
    """Run until told to stop. Elasticsearch and Redis may be away at any time; the feed waits and goes on."""
    configure_logging(settings)
    forget_ready(settings)
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    queue = TaskQueue(settings)
    async with connect_async(settings) as es:
        work = asyncio.create_task(_follow(es, queue, settings))
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        stop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    queue.close()


async def _follow(es: AsyncElasticsearch, queue: TaskQueue, settings: Settings) -> None:
    await wait_for_elasticsearch_async(es, settings.es_url)
    feed = Feed(es, queue, settings)
    failures = 0
    is_ready = False
    while True:
        try:
            await ensure_checkpoints_index(es)
            while True:
                await feed.step()
                failures = 0
                if not is_ready:
                    announce_ready(settings)
                    is_ready = True
                await asyncio.sleep(
                    min(_BUSY_POLL_SECONDS, settings.feed_poll_seconds) if feed.is_busy else settings.feed_poll_seconds
                )
        except (ApiError, TransportError, RedisError, OperationalError, OSError) as error:
            log.warning(
                "the change feed waits",
                retry_in_seconds=back_off(failures),
                cause=type(error).__name__,
                detail=str(error)[:300],
            )
            await asyncio.sleep(back_off(failures))
            failures += 1
