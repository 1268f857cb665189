"""The change feed process: finds attached indices, follows each, and survives whatever is away for a while.

Elasticsearch: attached indices, global checkpoints, changes  ->  tasks in Redis  ->  results  ->  checkpoints
"""

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from esblend import tracing
from esblend.broker import EmbedTask
from esblend.elasticsearch_connection import back_off, connect_async, is_passing, wait_for_elasticsearch_async
from esblend.errors import IndexNotFound, NotAttached
from esblend.logs import configure_logging
from esblend.metrics import ATTACHMENT_LOST, COVERAGE, DEAD_LETTERS, serve
from esblend.ready import announce_ready, forget_ready
from esblend.settings import Settings
from indexer.care.letter_requests import discard, requests
from indexer.care.mean_vectors import MeanVectorRefresh
from indexer.care.status import read_status
from indexer.feed.checkpoints import (
    Checkpoint,
    checkpoint_id,
    delete_checkpoints_but,
    ensure_checkpoints_index,
    load_checkpoints,
)
from indexer.feed.index_feed import IndexFeed, LeaseLostError
from indexer.feed.leases import Leases
from indexer.feed.shard_changes import read_shards
from indexer.feed.task_queue import TaskQueue
from mappings.attachment import Attachment
from mappings.attachment_copies import AttachmentCopies
from mappings.dead_letter_index import DROP
from mappings.index_lookup import read_attachments
from mappings.mapping_requests import requesting_indices

log = structlog.get_logger()
_ASK_AGAIN_SECONDS = 60.0
_BUSY_POLL_SECONDS = 0.1
_ABANDONED_CHECK_SECONDS = 3.0
_MEASURE_SECONDS = 15.0


@dataclass(frozen=True)
class Followed:
    """One generation of an attached index, as last discovered."""

    index: str
    uuid: str
    generation: str
    attachment: Attachment


class Feed:
    """All attached indices that no other feed process follows, one `IndexFeed` for each generation."""

    def __init__(self, es: AsyncElasticsearch, queue: TaskQueue, settings: Settings) -> None:
        self._es = es
        self._queue = queue
        self._settings = settings
        self._leases = Leases(es)
        self._copies = AttachmentCopies(es)
        self._lost: frozenset[str] = frozenset()
        self._mean_vectors = MeanVectorRefresh(es)
        self._wanted: dict[str, Followed] = {}
        self._unreadable: set[str] = set()
        self._feeds: dict[str, IndexFeed] = {}
        self._owners: set[str] = set()
        self._discovered = float("-inf")
        self._cluster_state: str | None = None
        self._looked_for_abandoned = 0.0
        self._suspects: set[str] = set()
        self._measured = float("-inf")
        self._asked: dict[str, float] = {}
        self._wished: dict[str, float] = {}

    @property
    def is_busy(self) -> bool:
        return any(feed.is_busy for feed in self._feeds.values())

    async def step(self) -> None:
        """One round: results in, new attachments, changes out."""
        await self._leases.beat()
        await self._recover_lost_tasks()
        await self._collect()
        if time.monotonic() - self._discovered >= self._settings.feed_discovery_seconds:
            await self._discover()
            await self._take_over()
            await self._pass_requests_on()
            self._discovered = time.monotonic()
        elif await self._leases.dead(self._owners):
            await self._take_over()
        shards = await read_shards(self._es, sorted({feed.index for feed in self._feeds.values()}))
        for key, feed in list(self._feeds.items()):
            present = shards.get(feed.index)
            if present is None or present.uuid != feed.checkpoint.uuid:
                self._discovered = float("-inf")  # deleted, closed or made anew: look at once
                self._cluster_state = None
                continue
            try:
                await feed.step(present)
                feed.measure(present)
                self._mean_vectors.consider(
                    feed.index, present.uuid, feed.checkpoint.generation, self._wanted[key].attachment, present.writes
                )
            except LeaseLostError:
                log.warning("another feed follows this index now", index=feed.index)
                feed.stop_measuring()
                del self._feeds[key]
            except ApiError as error:
                if is_passing(error):
                    raise
                # One index that cannot be read must not hold the others up.
                feed.pause(f"it cannot be read: {error.error}")

        await self._measure()

    async def _measure(self) -> None:
        """Coverage and dead letters of the indices that this process follows; they cost a search each, so not each round."""
        if self._settings.metrics_port is None or time.monotonic() - self._measured < _MEASURE_SECONDS:
            return
        self._measured = time.monotonic()
        for index in {feed.index for feed in self._feeds.values()}:
            with contextlib.suppress(ApiError, NotAttached, IndexNotFound):
                found = await read_status(self._es, index)
                COVERAGE.labels(index).set(found.coverage)
                DEAD_LETTERS.labels(index).set(found.dead_letters)

    async def stop(self) -> None:
        """Let the others take over at once."""
        await self._mean_vectors.stop()
        await self._leases.resign()

    async def _discover(self) -> None:
        """Find out what is attached. An attachment is cluster state, so nothing can be new while that stands still."""
        state = await self._read_cluster_state()
        if state is not None and state == self._cluster_state:
            return
        await self._pass_wishes_on()
        found = await read_attachments(self._es)
        attached = {index: attachment for index, attachment in found.items() if attachment}
        unreadable = found.keys() - attached.keys()
        for index in unreadable - self._unreadable:
            log.warning("an attachment of a newer version of esblend is left alone", index=index)
        self._unreadable = unreadable
        shards = await read_shards(self._es, sorted(attached))
        wanted = {
            checkpoint_id(shards[index].uuid, generation): Followed(index, shards[index].uuid, generation, attachment)
            for index, attachment in attached.items()
            if index in shards
            for generation, settings in attachment.generations.items()
            if settings.is_followed
        }
        is_changed = self._wanted.keys() != wanted.keys()
        self._wanted = wanted
        for key in self._feeds.keys() - wanted.keys():
            gone = self._feeds.pop(key)
            gone.stop_measuring()
            log.info("no longer following", index=gone.index)
        for key, feed in self._feeds.items():
            feed.backfill = wanted[key].attachment.backfill
        # A closed index, or one whose primaries are away, keeps its checkpoint.
        if is_changed and not attached.keys() - shards.keys():
            await delete_checkpoints_but(self._es, set(wanted), set(attached), unreadable)
            await self._mean_vectors.forget_others(set(wanted), unreadable)
        await self._save_copies({shards[index].uuid: (index, attached[index]) for index in attached if index in shards})
        is_settled = not attached.keys() - shards.keys() and not self._wished
        self._cluster_state = state if is_settled else None

    async def _save_copies(self, attached: dict[str, tuple[str, Attachment]]) -> None:
        """Keep copies of all attachments, and report the indices that lost theirs."""
        lost = await self._copies.save(attached)
        for index in lost - self._lost:
            log.error("attachment lost: another client has overwritten _meta", index=index)
        for index in lost | self._lost:
            ATTACHMENT_LOST.labels(index).set(index in lost)
        self._lost = lost

    async def _pass_wishes_on(self) -> None:
        """Have workers attach the indices whose mappings ask for it. One that cannot be is asked for again after a while."""
        now = time.monotonic()
        wishing = await requesting_indices(self._es)
        self._wished = {index: self._wished.get(index, float("-inf")) for index in wishing}
        for index in wishing:
            if now - self._wished[index] > _ASK_AGAIN_SECONDS:
                await asyncio.to_thread(self._queue.ask_to_attach, index)
                self._wished[index] = now

    async def _read_cluster_state(self) -> str | None:
        """A word that changes with every change of the cluster's state; None when this user may not see it."""
        try:
            answer = await self._es.cluster.state(metric="version", filter_path="state_uuid")
        except ApiError as error:
            if error.meta.status == 403:
                return None
            raise
        return str(answer["state_uuid"])

    async def _take_over(self) -> None:
        """Follow what nobody follows, or only a process that is dead."""
        keys = sorted(self._wanted.keys() - self._feeds.keys())
        stored = await load_checkpoints(self._es, keys)
        self._owners = {checkpoint.owner for checkpoint, _ in stored.values() if checkpoint.owner}
        dead = await self._leases.dead(self._owners)
        for key in keys:
            followed = self._wanted[key]
            checkpoint, version = stored.get(key, (None, None))
            if checkpoint is not None and checkpoint.owner and checkpoint.owner not in dead | {self._leases.me}:
                continue
            mine = (checkpoint or Checkpoint(index=followed.index, uuid=followed.uuid, generation=followed.generation)
                    ).model_copy(update={"owner": self._leases.me})  # fmt: skip
            feed = IndexFeed(mine, version, self._es, self._queue, self._settings)
            feed.backfill = followed.attachment.backfill
            try:
                await feed.save()
            except LeaseLostError:
                continue  # another was quicker
            self._feeds[key] = feed
            log.info("following", index=followed.index, generation=followed.generation, resumed=checkpoint is not None)
        await self._leases.bury(dead)

    async def _pass_requests_on(self) -> None:
        """Make tasks of what people asked for on dead letters. Asked again after a while if nothing came of it."""
        now = time.monotonic()
        found = await requests(self._es)
        self._asked = {request.letter: self._asked.get(request.letter, float("-inf")) for request in found}
        orphans = []
        for request in found:
            key = checkpoint_id(request.uuid, request.generation)
            if key not in self._wanted:
                orphans.append(request.letter)
            elif key in self._feeds and now - self._asked[request.letter] > _ASK_AGAIN_SECONDS:
                task = EmbedTask(
                    index=self._wanted[key].index, uuid=request.uuid, generation=request.generation,
                    documents=[request.document], action="drop" if request.action == DROP else "renew",
                )  # fmt: skip
                await asyncio.to_thread(self._queue.send, "live", task)
                self._asked[request.letter] = now
        await discard(self._es, orphans)

    async def _collect(self) -> None:
        for feed in self._feeds.values():
            if feed.is_busy:
                outcomes = await asyncio.to_thread(self._queue.collect, feed.tasks)
                await feed.learn_own_writes()  # those of finished tasks are complete now
                for outcome in outcomes:
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
    serve(settings)
    tracing.set_up(settings, "feed")
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    queue = TaskQueue(settings)
    async with connect_async(settings) as es:
        feed = Feed(es, queue, settings)
        work = asyncio.create_task(_follow(es, feed, settings))
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        stop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        with contextlib.suppress(ApiError, TransportError):
            await feed.stop()
    queue.close()
    tracing.flush()


async def _follow(es: AsyncElasticsearch, feed: Feed, settings: Settings) -> None:
    await wait_for_elasticsearch_async(es, settings.es_url)
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
