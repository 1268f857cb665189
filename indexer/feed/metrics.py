"""The gauges of the indices that this process follows."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from prometheus_client import Gauge

from esblend.errors import EsblendError
from esblend.metrics import COVERAGE, DEAD_LETTERS, LAG, PAUSED, PENDING, TASKS_IN_FLIGHT
from indexer.care.status import read_status
from indexer.feed.checkpoints import ShardCheckpoint
from indexer.feed.index_feed import IndexFeed
from indexer.feed.shard_changes import IndexShards

log = structlog.get_logger()
_MEASURE_SECONDS = 15.0
_INDICES_AT_A_TIME = 8
_SHARE = 20
"""Counting takes at most this part of the time: it searches all documents of an index, which takes long in a large one."""


def show_progress(feed: IndexFeed, shards: IndexShards | None, outage_since: float | None = None) -> None:
    """Set the gauges that the feed knows without a request. `shards` is None for an index that cannot be read. `outage_since`
    (seconds since 1970): the process has not read changes since then."""
    names = (feed.index, feed.checkpoint.generation)
    since = feed.checkpoint.pending_since or outage_since
    LAG.labels(*names).set(max(0.0, time.time() - since) if since else 0.0)
    PAUSED.labels(*names).set(feed.checkpoint.paused_because is not None or outage_since is not None)
    for lane in feed.cursors:
        TASKS_IN_FLIGHT.labels(*names, lane).set(feed.in_flight(lane))
        if shards is not None:
            PENDING.labels(*names, lane).set(feed.pending(lane, shards))


def remove_progress(feed: IndexFeed) -> None:
    """Remove the gauges of an index that this process no longer follows."""
    names = (feed.index, feed.checkpoint.generation)
    gauges: list[tuple[Gauge, tuple[str, ...]]] = [(LAG, names), (PAUSED, names)]
    gauges += [(gauge, (*names, lane)) for gauge in (PENDING, TASKS_IN_FLIGHT) for lane in feed.cursors]
    for gauge, labels in gauges:
        with contextlib.suppress(KeyError):
            gauge.remove(*labels)


class CoverageMetrics:
    """Coverage and dead letters need searches. Each round reads a few indices, and only indices that changed since the last
    round; an idle index costs nothing."""

    def __init__(self, es: AsyncElasticsearch, feeds: Callable[[], Collection[IndexFeed]]) -> None:
        self._es = es
        self._feeds = feeds
        self._read: dict[str, tuple[float, dict[int, ShardCheckpoint] | None]] = {}
        """The time at which each index was read, and its positions then; None when it could not be read."""

    async def keep(self) -> None:
        """Read repeatedly, until cancelled."""
        while True:
            pause = _MEASURE_SECONDS
            try:
                pause = await self.read_next()
            except Exception as error:
                log.error("unexpected error of the gauges of coverage", exc_info=error)
            await asyncio.sleep(pause)

    async def read_next(self) -> float:
        """Read the next indices; returns the seconds until others are due. An index that cannot be read is read again after the
        others, and the time that it took extends no pause: a request that gets no answer takes a minute."""
        seconds = 0.0
        for index, positions in self._due().items():
            began = time.monotonic()
            try:
                status = await read_status(self._es, index)
            except (ApiError, TransportError, EsblendError):
                self._read[index] = (began, None)
                continue
            seconds += time.monotonic() - began
            self._read[index] = (began, positions)
            COVERAGE.labels(index).set(status.coverage)
            DEAD_LETTERS.labels(index).set(status.dead_letters)
        return max(_MEASURE_SECONDS, (_SHARE - 1) * seconds)

    def _due(self) -> dict[str, dict[int, ShardCheckpoint]]:
        """The indices that changed, the one that was read longest ago first, with their positions."""
        present = {feed.index: feed.checkpoint.shards for feed in self._feeds()}
        for index in self._read.keys() - present.keys():
            del self._read[index]
            for gauge in (COVERAGE, DEAD_LETTERS):
                with contextlib.suppress(KeyError):
                    gauge.remove(index)
        never = (float("-inf"), None)
        changed = [index for index in present if self._read.get(index, never)[1] != present[index]]
        due = sorted(changed, key=lambda index: self._read.get(index, never)[0])[:_INDICES_AT_A_TIME]
        return {index: present[index] for index in due}
