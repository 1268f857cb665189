"""The change feed process: runs the feed's rounds and its heartbeat, and survives outages of Elasticsearch and Redis."""

import asyncio
import contextlib
import signal
import time

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from esblend import tracing
from esblend.elasticsearch_connection import back_off, connect_async, wait_for_elasticsearch_async
from esblend.errors import IndexUnavailable
from esblend.logs import configure_logging
from esblend.metrics import serve
from esblend.ready_file import announce_ready, forget_ready
from esblend.settings import Settings
from indexer.feed.checkpoints import ensure_checkpoints_index
from indexer.feed.feed import Feed
from indexer.feed.index_problems import IndexProblems
from indexer.feed.leases import Leases, Outage
from indexer.feed.members import group_of
from indexer.feed.metrics import CoverageMetrics
from indexer.feed.step_places import CONNECTIONS
from indexer.feed.task_queue import TaskQueue

log = structlog.get_logger()
_LEAST_SECONDS = 0.05
"""The shortest pause between two rounds: reports that arrive together are processed together."""
_STUCK_SECONDS = 120.0
_FAILING_SECONDS = 10.0
"""A process whose rounds fail for this long leaves the list of members: the others must not leave indices to it."""


class Liveness:
    """Whether the feed's loop still runs; waiting for Elasticsearch counts as running."""

    def __init__(self, settings: Settings) -> None:
        self._limit = _STUCK_SECONDS + 2 * settings.es_timeout_seconds
        self._turned_at = time.monotonic()

    def turn(self) -> None:
        self._turned_at = time.monotonic()

    def is_alive(self) -> bool:
        return time.monotonic() - self._turned_at < self._limit


async def run_feed(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    configure_logging(settings)
    forget_ready(settings)
    liveness = Liveness(settings)
    serve(settings, liveness.is_alive)
    tracing.set_up(settings, "feed")
    stopping = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stopping.set)
    queue = TaskQueue(settings)
    async with connect_async(settings, connections=CONNECTIONS) as es, connect_async(settings) as es_of_heartbeat:
        leases = Leases(es_of_heartbeat, group_of(settings))
        feed = Feed(es, queue, leases, settings)
        work = {
            asyncio.create_task(_follow(es, feed, leases, liveness, settings)),
            asyncio.create_task(stopping.wait()),
        }
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in work:
            task.cancel()
        with contextlib.suppress(ApiError, TransportError):
            await feed.stop()
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    queue.close()
    tracing.flush()


async def _follow(es: AsyncElasticsearch, feed: Feed, leases: Leases, liveness: Liveness, settings: Settings) -> None:
    await wait_for_elasticsearch_async(es, settings.es_url)
    liveness.turn()
    beside: list[asyncio.Task[None]] = []
    failures = 0
    worked_at = time.monotonic()
    is_ready = False
    try:
        while True:
            liveness.turn()
            try:
                if not beside:
                    await ensure_checkpoints_index(es)
                    await feed.prepare()
                    await leases.join()
                    beside.append(asyncio.create_task(leases.keep()))
                    problems = IndexProblems(es, lambda: feed.followed.indices, lambda: feed.mapping_changes)
                    beside.append(asyncio.create_task(problems.keep()))
                    if settings.metrics_port is not None:
                        beside.append(asyncio.create_task(CoverageMetrics(es, lambda: feed.feeds.values()).keep()))
                await feed.wait()
                await feed.round()
            except (ApiError, TransportError, IndexUnavailable, RedisError, OperationalError, OSError) as error:
                pause = _pause(failures, worked_at)
                log.warning("the change feed waits", retry_in_seconds=pause, cause=type(error).__name__,
                            detail=str(error)[:300])  # fmt: skip
                await _note_outage(error, feed, leases, worked_at)
            except Exception as error:
                # The process continues: a restart would only repeat the error, for all indices.
                pause = _pause(failures, worked_at)
                log.error("unexpected error of the change feed", retry_in_seconds=pause, exc_info=error)
                await _note_outage(error, feed, leases, worked_at)
            else:
                worked_at, leases.can_work, leases.outage = time.monotonic(), True, None
                if not is_ready:
                    announce_ready(settings)
                    is_ready = True
                failures, pause = -1, _LEAST_SECONDS
            failures += 1
            await asyncio.sleep(pause)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


def _pause(failures: int, worked_at: float) -> float:
    """The seconds until the next round. One begins as soon as this process has failed for long enough to leave its indices."""
    left = worked_at + _FAILING_SECONDS - time.monotonic()
    return min(back_off(failures), left) if left > 0 else back_off(failures)


async def _note_outage(error: Exception, feed: Feed, leases: Leases, worked_at: float) -> None:
    """Report the outage, and leave the indices to other processes when it has lasted for a while."""
    seconds = time.monotonic() - worked_at
    since = time.time() - seconds if leases.outage is None else leases.outage.since
    leases.outage = Outage(f"{type(error).__name__}: {error}"[:300], since)
    leases.can_work = seconds < _FAILING_SECONDS
    feed.show_outage(since)
    if not leases.can_work:
        with contextlib.suppress(ApiError, TransportError, IndexUnavailable):
            await feed.leave_to_others()
