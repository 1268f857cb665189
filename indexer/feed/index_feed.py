"""Follows one generation of one index: sends ranges of its changes as tasks, advances its checkpoint when they are done.

reports of workers -> finish -> cursors advance                          -> checkpoint
shard stats -> new history? -> refresh -> ranges of unsent and new changes -> tasks

The feed reads no documents: the workers search the ranges of sequence numbers.
"""

import asyncio
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Collection
from heapq import heapify, heappop, heappush

import structlog
from elasticsearch import AsyncElasticsearch

from esblend.broker import MAX_RUNS, EmbedResult, Lane, RangeTask, Report
from esblend.elasticsearch_connection import back_off
from esblend.errors import IndexUnavailable
from esblend.metrics import TASKS
from esblend.settings import Settings
from indexer.feed.change_times import ChangeTimes
from indexer.feed.checkpoints import Checkpoint, Version
from indexer.feed.credit import Credit
from indexer.feed.density import Density
from indexer.feed.lost_tasks import SentTask
from indexer.feed.positions import Positions
from indexer.feed.quiet_period import QuietPeriod
from indexer.feed.rate_limit import RateLimit
from indexer.feed.saved_checkpoint import SavedCheckpoint
from indexer.feed.shard_changes import IndexShards, ShardState, refresh, traced_changes
from indexer.feed.task_queue import TaskQueue
from indexer.feed.task_size import TaskSize
from indexer.feed.worker_writes import WorkerWrites
from indexer.feed.write_speed import WriteSpeed
from mappings.attachment import BackfillControl

log = structlog.get_logger()
_RELEASE_SECONDS = 10.0
_REPORT_SECONDS = 0.2
"""A worker reports its writes within this time, mostly."""
_FREQUENT_REPORTS, _FREQUENT_SECONDS = 3, 0.6
"""A backfill that sends so many reports in this time is expected to send the next one in a moment."""


class IndexFeed:
    """Sends the changes of each lane as far as limits and shares allow, and pauses after failures."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        version: Version | None,
        es: AsyncElasticsearch,
        queue: TaskQueue,
        settings: Settings,
        credit: Credit,
        take_reports: Callable[[], Awaitable[None]],
    ) -> None:
        """`credit`: shared by the indices of the process. `take_reports`: passes the workers' reports so far to `note`."""
        self.saved = SavedCheckpoint(es, checkpoint, version)
        self.backfill = BackfillControl()
        self.is_missing = False
        """Closed or deleted: shard stats do not contain it."""
        self.positions = Positions(checkpoint.index, checkpoint.shards)
        self.cursors = self.positions.cursors
        self.tasks: dict[str, SentTask] = {}
        self._es = es
        self._queue = queue
        self._credit = credit
        self._take_reports = take_reports
        self._settings = settings
        self._shards: IndexShards | None = None
        self._worker_writes = WorkerWrites()
        self._backfill_reports: deque[float] = deque(maxlen=_FREQUENT_REPORTS)
        """The times of the last reports of writes."""
        self._live_read_at = float("-inf")
        self._is_backfill_visible = False
        self._speed = WriteSpeed()
        self._failed_tasks = 0
        self._failed_reads = 0
        self._pause_until = 0.0
        self._leaving_since: float | None = None
        self._densities: defaultdict[tuple[Lane, int], Density] = defaultdict(Density)
        self._size = TaskSize(settings.feed_batch_documents)
        self._rate = RateLimit()
        self._quiet = QuietPeriod(settings.feed_quiet_seconds)
        self._times = ChangeTimes(checkpoint.pending_since)

    @property
    def checkpoint(self) -> Checkpoint:
        return self.saved.checkpoint

    @property
    def index(self) -> str:
        return self.checkpoint.index

    @property
    def is_busy(self) -> bool:
        return bool(self.tasks)

    @property
    def is_at_rest(self) -> bool:
        """Whether only a further write, or a change of the cluster state, can make work."""
        if self.tasks or self._leaving_since is not None:
            return False
        is_done = self.checkpoint.pending_since is None and self.checkpoint.paused_because is None
        is_settled = self._shards is not None and self._shards.is_settled
        return self.is_missing or (is_done and is_settled and self.saved.is_saved)

    @property
    def is_overdue(self) -> bool:
        """Whether another process has waited long enough for this index."""
        return self._leaving_since is not None and time.monotonic() - self._leaving_since >= _RELEASE_SECONDS

    def note(self, report: Report) -> None:
        """Process a worker's report. The changes of a failed task are read again after a pause. Unknown tasks are ignored."""
        sent = self.tasks.get(report.task)
        if sent is None:
            return
        self._worker_writes.add(sent.shard, report.written)
        if report.written and sent.lane == "backfill":
            self._backfill_reports.append(time.monotonic())
        if report.is_end:
            self._finish(report.task, sent, report.result)
            self._note_in_flight()

    def _finish(self, task: str, sent: SentTask, result: EmbedResult | None) -> None:
        # Without progress nothing proves that a part of the range was read.
        if result is None or result.until is None or result.until <= sent.after:
            TASKS.labels(sent.lane, "failed").inc()
            self._failed_tasks += 1
            self._pause(f"task {task} failed", self._failed_tasks)
            self.lose([task])
            return
        TASKS.labels(sent.lane, "done").inc()
        del self.tasks[task]
        self._failed_tasks = 0
        self.cursors[sent.lane][sent.shard].finish(task, result.until)
        self._learn(sent, result, min(result.until, sent.until))
        self._speed.add(result.written)

    def _learn(self, sent: SentTask, result: EmbedResult, until: int) -> None:
        """Learn the workers' speed and the density of the changes; the rate limit regains the documents that were not there."""
        self._size.learn(documents=result.documents, written=result.written, seconds=result.seconds)
        if until > sent.after:
            self._densities[sent.lane, sent.shard].learn(width=until - sent.after, documents=result.documents)
        if sent.lane == "backfill":
            self._rate.spend(result.documents - sent.max_documents)

    def lose(self, tasks: Collection[str]) -> None:
        """Read the changes of these tasks again: they failed, or no worker processes them any more."""
        for task in tasks:
            sent = self.tasks.pop(task, None)
            if sent is not None:
                self.cursors[sent.lane][sent.shard].lose(task)
                self._densities[sent.lane, sent.shard].narrow(sent.until - sent.after)
        self._note_in_flight()

    def fail(self, reason: str) -> None:
        """Record that the index could not be read, and pause it alone. The pause grows with each failure in a row."""
        self._failed_reads += 1
        self._pause(reason, self._failed_reads)

    def _pause(self, reason: str, failures: int) -> None:
        self._pause_until = time.monotonic() + back_off(failures)
        since = self.checkpoint.pending_since or time.time()
        self.saved.update(paused_because=reason[:300], pending_since=since)
        log.warning("pausing an index", index=self.index, reason=reason[:300], retry_in_seconds=back_off(failures))

    async def step(self, shards: IndexShards) -> None:
        """Make tasks of new changes up to the limit of tasks in flight, save the checkpoint if it moved.

        Raises LeaseLostError, IndexUnavailable, and the errors of Elasticsearch and Redis.
        """
        self.is_missing = False
        self._rate.per_second = self.backfill.documents_per_second
        for shard, state in shards.shards.items():
            self._begin_history(shard, state)
            self._times.note(shard, state.global_checkpoint, time.time())
        self._pass_worker_writes(shards)
        if time.monotonic() >= self._pause_until and self._leaving_since is None:
            self._require_primaries(shards)
            await self._send_due_lanes(shards)
            self._failed_reads = 0
        self.positions.end_finished_backfills()
        await self._save_if_moved(shards)

    def leave(self, is_leaving: bool) -> None:
        """Send no further task, because another process is to follow this index; or send tasks again."""
        self._leaving_since = (self._leaving_since or time.monotonic()) if is_leaving else None

    @property
    def may_be_released(self) -> bool:
        """Whether another process may follow this index: at once without unfinished tasks, or else after some seconds."""
        return self._leaving_since is not None and (not self.tasks or self.is_overdue)

    def _begin_history(self, shard: int, state: ShardState) -> None:
        if self.positions.begin(shard, state):
            self.tasks = {task: sent for task, sent in self.tasks.items() if sent.shard != shard}
            self._note_in_flight()
            self._worker_writes.forget_shard(shard)
            self._times.forget(shard)
            self._is_backfill_visible = False

    def _pass_worker_writes(self, shards: IndexShards) -> None:
        """Skip changes that only workers made, without reading them: a backfill costs the live lane no search."""
        cursors = self.cursors["live"]
        for shard in self._worker_writes.shards & cursors.keys():
            cursor, state = cursors[shard], shards.shards.get(shard)
            end = self._worker_writes.end_of_run(shard, cursor.sent, -1 if state is None else state.global_checkpoint)
            if end > cursor.sent and not cursor.unsent:
                cursor.send(end)
            self._worker_writes.forget_up_to(shard, cursor.done)

    def _require_primaries(self, shards: IndexShards) -> None:
        """Raises IndexUnavailable while a shard has no primary. The refresh would fail as well, but only after a minute."""
        missing = sorted(self.cursors["live"].keys() - shards.shards.keys())
        if missing:
            raise IndexUnavailable(
                f"shard {missing[0]} of [{self.index}] has no primary: GET _cluster/allocation/explain"
            )

    async def _send_due_lanes(self, shards: IndexShards) -> None:
        # While tasks run, most new changes are the workers' own and known in a moment: reading after each report would be wasted
        # work. Half of the pause between two looks: each look reads, also one that comes a little early.
        waits = self.tasks and time.monotonic() - self._live_read_at < self._settings.feed_poll_seconds / 2
        limits: dict[Lane, dict[int, int]] = {lane: self._readable(lane, shards) for lane in self.cursors}
        if self.tasks and not waits:
            await self._pass_reported_writes(shards, limits)
        is_live_due = not waits and self._has_unsent("live", limits)
        is_backfill_due = self._has_unsent("backfill", limits)
        if is_live_due or (is_backfill_due and not self._is_backfill_visible):
            await self._note_pending_changes()
            await refresh(self._es, self.index, self._settings.es_timeout_seconds)
            self._is_backfill_visible = True
        if is_live_due:
            self._live_read_at = time.monotonic()
            # Workers reported more of their writes during the refresh. Without them a backfill would cause live tasks.
            await self._take_reports()
            self._pass_worker_writes(shards)
            if self._has_unsent("live", limits):
                await self._send_lane("live", limits)
        if is_backfill_due:
            await self._send_lane("backfill", limits)

    async def _pass_reported_writes(self, shards: IndexShards, limits: dict[Lane, dict[int, int]]) -> None:
        """Pass the workers' writes that are reported by now. While a backfill writes often, wait for the reports a moment: the
        refresh that other changes need makes a segment with a graph of vectors, which Elasticsearch merges later."""
        end = time.monotonic() + _REPORT_SECONDS
        while True:
            await self._take_reports()
            self._pass_worker_writes(shards)
            now = time.monotonic()
            if not self._expects_reports(now) or not self._has_unsent("live", limits) or now >= end:
                return
            await asyncio.sleep(_REPORT_SECONDS / 4)

    def _expects_reports(self, now: float) -> bool:
        times = self._backfill_reports
        return len(times) == _FREQUENT_REPORTS and now - times[0] < _FREQUENT_SECONDS and self.in_flight("backfill") > 0

    async def _note_pending_changes(self) -> None:
        """Record since when changes are pending, before the refresh: it takes a minute while a primary shard is missing."""
        if self.checkpoint.pending_since is None:
            self.saved.update(pending_since=time.time())
            await self.saved.save_if_changed(at_once=True)

    def _readable(self, lane: Lane, shards: IndexShards) -> dict[int, int]:
        """The last change of each shard that may be sent now. Shards without an assigned primary have none."""
        now = time.monotonic()
        return {
            shard: self._quiet.readable(shard, state.global_checkpoint, now) if cursor.end is None else cursor.end
            for shard, cursor in sorted(self.cursors[lane].items())
            if (state := shards.shards.get(shard)) is not None
        }

    def _has_unsent(self, lane: Lane, limits: dict[Lane, dict[int, int]]) -> bool:
        cursors = self.cursors[lane]
        return self._may_send(lane) and any(
            cursors[shard].sent < limit or cursors[shard].unsent for shard, limit in limits[lane].items()
        )

    def _may_send(self, lane: Lane) -> bool:
        limit = self._settings.feed_max_tasks_in_flight
        most = self._size.max_in_flight(self._credit.tasks(lane) if limit is None else limit)
        if self.in_flight(lane) >= most or not self._credit.allows(lane, self.checkpoint.id):
            return False
        return lane == "live" or (not self.backfill.paused and self._rate.allows_any())

    def in_flight(self, lane: Lane) -> int:
        return sum(1 for sent in self.tasks.values() if sent.lane == lane)

    def _note_in_flight(self) -> None:
        for lane in self.cursors:
            self._credit.set(lane, self.checkpoint.id, self.in_flight(lane))

    async def _send_lane(self, lane: Lane, limits: dict[Lane, dict[int, int]]) -> None:
        """Send tasks while the limits allow it. The shard with the fewest unfinished tasks is next."""
        in_flight = Counter(sent.shard for sent in self.tasks.values() if sent.lane == lane)
        cursors = self.cursors[lane]
        due = [(in_flight[shard], shard) for shard, limit in limits[lane].items() if cursors[shard].next_unsent(limit)]
        heapify(due)
        while due and self._leaving_since is None and self._may_send(lane):
            tasks, shard = heappop(due)
            unsent = cursors[shard].next_unsent(limits[lane][shard])
            if unsent is not None:
                is_sent = await self._send_range(lane, shard, *unsent)
                heappush(due, (tasks + is_sent, shard))

    async def _send_range(self, lane: Lane, shard: int, after: int, end: int) -> bool:
        """Send the first part of (`after`, `end`] that holds about as many documents as a task should have; returns whether a
        task was sent."""
        size = self._size.documents
        if lane == "backfill" and self._settings.broker_url is None:  # in RabbitMQ, tasks do not end early
            size = self._size.of_backfill(end - after, self._credit.workers)
        most = min(2 * size, self._size.max_documents)
        if lane == "backfill":
            size, most = self._rate.allowed(size), self._rate.allowed(most)
        until = min(end, after + self._densities[lane, shard].width(size))
        own = self._worker_writes.within(shard, after, until, MAX_RUNS) if lane == "live" else []
        if sum(last - first + 1 for first, last in own) == until - after:
            self.cursors[lane][shard].send(until)
            return False
        message = RangeTask(
            index=self.index,
            uuid=self.checkpoint.uuid,
            generation=self.checkpoint.generation,
            shard=shard,
            after=after,
            until=until,
            max_documents=most,
            without=own,
        )
        changes = await traced_changes(self._es, message)
        if self.cursors[lane][shard].next_unsent(end) != (after, end):
            return False  # an earlier task got lost meanwhile, and its changes are next
        # Registered before it is sent: its result may arrive first, and other tasks may get lost meanwhile. Not before the search:
        # a task that no queue has yet would count as lost.
        task = str(uuid.uuid4())
        self.tasks[task] = SentTask(lane, shard, after, until, most, time.monotonic())
        self.cursors[lane][shard].send(until, task)
        self._note_in_flight()
        if lane == "backfill":
            self._rate.spend(most)
        try:
            await asyncio.to_thread(self._queue.send, lane, message, task, changes)
        except Exception:
            self.lose([task])
            raise
        return True

    def pending(self, lane: Lane, shards: IndexShards) -> int:
        """Sequence numbers that are not done; about as many changes."""
        return self.positions.pending(lane, shards.global_checkpoints)

    def _is_behind(self, shards: IndexShards) -> bool:
        """Whether changes may be pending. A shard without an assigned primary may have pending changes."""
        has_unknown = any(shard not in shards.shards for shard in self.cursors["live"])
        return has_unknown or any(self.pending(lane, shards) for lane in self.cursors)

    async def _save_if_moved(self, shards: IndexShards) -> None:
        is_new = shards is not self._shards
        self._shards = shards
        is_behind = self._is_behind(shards)
        is_paused = time.monotonic() < self._pause_until
        since = self._times.oldest(self.cursors, time.time())
        if since is None or shards.shards.keys() != self.cursors["live"].keys():
            since = self.checkpoint.pending_since or time.time()
        if is_new and not is_behind:
            self._worker_writes.clear()  # all of them are below the checkpoint now; older stats would not prove it
        self.saved.update(
            shards=self.positions.all(),
            pending_since=since if is_behind or is_paused else None,
            paused_because=self.checkpoint.paused_because if is_paused else None,
            updated_at=time.time(),
            documents_per_second=self._speed.per_second(),
        )
        await self.saved.save_if_changed(at_once=not is_behind)
