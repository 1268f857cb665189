"""Follows one generation of one index: reads its changes, makes tasks of them, moves its checkpoint when they are done."""

import asyncio
import contextlib
import time
from collections import deque

import structlog
from elasticsearch import AsyncElasticsearch

from esblend.broker import EmbedTask, Lane
from esblend.elasticsearch_connection import back_off
from esblend.metrics import LAG, PENDING, TASKS, TASKS_IN_FLIGHT
from esblend.settings import Settings
from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint, Version, save_checkpoint
from indexer.feed.cursor import Cursor
from indexer.feed.pace import Pace, RateLimit
from indexer.feed.shard_changes import IndexShards, read_changes
from indexer.feed.task_queue import Outcome, TaskQueue
from indexer.feed.worker_writes import OwnWrites
from mappings.attachment import BackfillControl

log = structlog.get_logger()
_FIRST_TASKS = 4
_SAVE_SECONDS = 1.0
_RATE_SECONDS = 10.0


class LeaseLostError(Exception):
    """Another feed process follows this index now."""


class IndexFeed:
    """Two cursors a shard: `live` follows the changes since the attachment, `backfill` brings what was there before."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        version: Version | None,
        es: AsyncElasticsearch,
        queue: TaskQueue,
        settings: Settings,
    ) -> None:
        self.checkpoint = checkpoint
        self.backfill = BackfillControl()
        self._version = version
        self._es = es
        self._queue = queue
        self._settings = settings
        self._cursors: dict[Lane, dict[int, Cursor]] = {"live": {}, "backfill": {}}
        self._tasks: dict[str, tuple[Lane, int, float, int]] = {}
        self._own = OwnWrites()
        self._live_read = float("-inf")
        self._is_backfill_visible = False
        self._rate: deque[tuple[float, int]] = deque()
        self._failures = 0
        self._pause_until = 0.0
        self._saved: tuple[float, str] = (0.0, "")
        self._pace = Pace(settings.feed_batch_documents)
        self._backfill_rate = RateLimit()
        for shard, position in checkpoint.shards.items():
            self._open(shard, position)

    @property
    def index(self) -> str:
        return self.checkpoint.index

    @property
    def tasks(self) -> list[str]:
        return list(self._tasks)

    @property
    def is_busy(self) -> bool:
        return bool(self._tasks)

    def finish(self, outcome: Outcome) -> None:
        """Take in what became of one of this feed's tasks. A failed task is read again from its checkpoint on, and so is what
        was sent after it; the outcomes of those tasks, which may come at the same time, mean nothing any more."""
        if outcome.task not in self._tasks:
            return
        lane, shard, _, documents = self._tasks.pop(outcome.task)
        TASKS.labels(lane, "failed" if outcome.result is None else "done").inc()
        if outcome.result is None:
            self.pause(f"task {outcome.task} failed")
            self.forget_unfinished(lane, shard)
            return
        self._failures = 0
        self._cursors[lane][shard].finish(outcome.task)
        if outcome.result.written > documents / 2:  # what was unchanged took no time
            self._pace.learn(documents, outcome.result.seconds)
        self._rate.append((time.monotonic(), outcome.result.written))

    async def learn_own_writes(self) -> None:
        """Take in what the workers wrote so far, so that those changes need no work when they are met."""
        for task, written in (await asyncio.to_thread(self._queue.written, self.tasks)).items():
            if task in self._tasks:
                self._own.add(self._tasks[task][1], written)

    def pause(self, reason: str) -> None:
        """Read nothing for a while that grows with each failure in a row."""
        self._failures += 1
        self._pause_until = time.monotonic() + back_off(self._failures)
        log.warning("pausing an index", index=self.index, reason=reason, retry_in_seconds=back_off(self._failures))

    def forget_unfinished(self, lane: Lane | None = None, shard: int | None = None) -> None:
        """Read again whatever was sent and not finished: of one shard's cursor, or of all."""
        for one_lane, cursors in self._cursors.items():
            for one_shard, cursor in cursors.items():
                if lane in (None, one_lane) and shard in (None, one_shard):
                    cursor.forget_unfinished()
                    self._tasks = {
                        task: place for task, place in self._tasks.items() if place[:2] != (one_lane, one_shard)
                    }

    def oldest_task_age(self) -> float:
        """Seconds since the oldest unfinished task was sent; 0 when there is none."""
        return time.monotonic() - min((sent for _, _, sent, _ in self._tasks.values()), default=time.monotonic())

    async def step(self, shards: IndexShards) -> None:
        """Make tasks of new changes, up to the limit of tasks in flight, and save the checkpoint when it moved."""
        self._backfill_rate.per_second = self.backfill.documents_per_second
        for shard, checkpoint in shards.global_checkpoints.items():
            if shard not in self._cursors["live"]:
                self._open(shard, ShardCheckpoint(live=checkpoint, backfill=-1, backfill_end=checkpoint))
        if self._tasks:
            await self.learn_own_writes()
        self._pass_own_writes(shards)
        if time.monotonic() >= self._pause_until:
            await self._send_due_lanes(shards)
        self._end_finished_backfills()
        await self._save_if_moved(shards)

    def _pass_own_writes(self, shards: IndexShards) -> None:
        """Go over what only workers wrote, without reading it: a backfill alone costs the feed no search of the live lane."""
        for shard, cursor in self._cursors["live"].items():
            end = self._own.end_of_run(shard, cursor.sent, shards.global_checkpoints.get(shard, -1))
            if end > cursor.sent:
                cursor.send(end, None)

    async def _send_due_lanes(self, shards: IndexShards) -> None:
        # While workers write, what is new is mostly theirs and known in a moment: to look at once would be in vain.
        waits = self._tasks and time.monotonic() - self._live_read < self._settings.feed_poll_seconds
        is_live_due = not waits and self._has_unsent("live", shards)
        is_backfill_due = self._has_unsent("backfill", shards)
        if is_live_due or (is_backfill_due and not self._is_backfill_visible):
            # The checkpoints were read before this refresh, so everything up to them is visible after it.
            await self._es.indices.refresh(index=self.index, ignore_unavailable=True)
            self._is_backfill_visible = True
        if is_live_due:
            self._live_read = time.monotonic()
            await self._send_lane("live", shards)
        if is_backfill_due:
            await self._send_lane("backfill", shards)

    async def save(self) -> None:
        """Raises LeaseLostError when another process wrote the checkpoint since."""
        self._version = await save_checkpoint(self._es, self.checkpoint, self._version)
        if self._version is None:
            raise LeaseLostError(self.index)

    def _open(self, shard: int, position: ShardCheckpoint) -> None:
        self._is_backfill_visible = False
        self._cursors["live"][shard] = Cursor(done=position.live)
        if position.backfill < position.backfill_end:
            self._cursors["backfill"][shard] = Cursor(done=position.backfill, end=position.backfill_end)

    def _limit(self, lane: Lane, shard: int, shards: IndexShards) -> int:
        end = self._cursors[lane][shard].end
        return shards.global_checkpoints.get(shard, -1) if end is None else end

    def _has_unsent(self, lane: Lane, shards: IndexShards) -> bool:
        """Whether there is something to send in a lane that may be sent now."""
        return self._may_send(lane) and any(
            cursor.sent < self._limit(lane, shard, shards) for shard, cursor in self._cursors[lane].items()
        )

    async def _send_lane(self, lane: Lane, shards: IndexShards) -> None:
        cursors = self._cursors[lane]
        for shard in sorted(cursors):
            if shard not in shards.global_checkpoints:
                continue  # its primary is not assigned just now
            limit = self._limit(lane, shard, shards)
            while cursors[shard].sent < limit and self._may_send(lane):
                await self._send_batch(lane, shard, limit)

    def _end_finished_backfills(self) -> None:
        """Also where the last task ended after all was sent."""
        backfill = self._cursors["backfill"]
        for shard in [shard for shard, cursor in backfill.items() if cursor.is_finished]:
            del backfill[shard]
            log.info("backfill done", index=self.index, shard=shard)

    def _may_send(self, lane: Lane) -> bool:
        most = self._settings.feed_max_tasks_in_flight
        if self._in_flight(lane) >= (most if self._pace.is_known else min(most, _FIRST_TASKS)):
            return False
        return lane == "live" or (not self.backfill.paused and self._backfill_rate.allows())

    def _in_flight(self, lane: Lane) -> int:
        return sum(1 for place in self._tasks.values() if place[0] == lane)

    async def _send_batch(self, lane: Lane, shard: int, limit: int) -> None:
        cursor = self._cursors[lane][shard]
        size = self._pace.documents
        if lane == "backfill":
            size = self._backfill_rate.at_most(size)
        changes = await read_changes(self._es, self.index, shard, after=cursor.sent, until=limit, size=size)
        until = changes[-1].seq_no if len(changes) == size else limit
        if changes and self._tasks:
            # Asked after the changes were read, so that what a worker wrote just before is known.
            await self.learn_own_writes()
        foreign = [change for change in changes if not self._own.is_own(shard, change.seq_no, change.id)]
        if not foreign:
            cursor.send(until, None)
            return
        message = EmbedTask(
            index=self.index, uuid=self.checkpoint.uuid, generation=self.checkpoint.generation, documents=foreign
        )
        task = await asyncio.to_thread(self._queue.send, lane, message)
        self._tasks[task] = (lane, shard, time.monotonic(), len(foreign))
        if lane == "backfill":
            self._backfill_rate.spend(len(foreign))
        cursor.send(until, task)

    async def _save_if_moved(self, shards: IndexShards) -> None:
        now = time.time()
        positions = {shard: self._position(shard) for shard in self._cursors["live"]}
        is_behind = bool(self._cursors["backfill"]) or any(
            cursor.done < self._limit("live", shard, shards) for shard, cursor in self._cursors["live"].items()
        )
        pending_since = (self.checkpoint.pending_since or now) if is_behind else None
        if not is_behind:
            self._own.clear()  # all of them lie below the checkpoint now
        self.checkpoint = self.checkpoint.model_copy(
            update={
                "shards": positions,
                "pending_since": pending_since,
                "updated_at": now,
                "documents_per_second": self._documents_per_second(),
            }
        )
        content = str((positions, pending_since is None))
        if content != self._saved[1] and (now - self._saved[0] >= _SAVE_SECONDS or not is_behind):
            await self.save()
            self._saved = (now, content)

    def measure(self, shards: IndexShards) -> None:
        """Set the gauges of this index."""
        names = (self.index, self.checkpoint.generation)
        since = self.checkpoint.pending_since
        LAG.labels(*names).set(max(0.0, time.time() - since) if since else 0.0)
        for lane, cursors in self._cursors.items():
            pending = sum(max(0, self._limit(lane, shard, shards) - one.done) for shard, one in cursors.items())
            PENDING.labels(*names, lane).set(pending)
            TASKS_IN_FLIGHT.labels(*names, lane).set(self._in_flight(lane))

    def stop_measuring(self) -> None:
        """Take the gauges away: another feed follows this index, or none."""
        names = (self.index, self.checkpoint.generation)
        for lane in self._cursors:
            for gauge, labels in ((LAG, names), (PENDING, (*names, lane)), (TASKS_IN_FLIGHT, (*names, lane))):
                with contextlib.suppress(KeyError):
                    gauge.remove(*labels)

    def _position(self, shard: int) -> ShardCheckpoint:
        live = self._cursors["live"][shard]
        backfill = self._cursors["backfill"].get(shard)
        if backfill is None or backfill.end is None:
            return ShardCheckpoint(live=live.done, backfill=live.done, backfill_end=live.done)
        return ShardCheckpoint(live=live.done, backfill=backfill.done, backfill_end=backfill.end)

    def _documents_per_second(self) -> float:
        now = time.monotonic()
        while self._rate and now - self._rate[0][0] > _RATE_SECONDS:
            self._rate.popleft()
        if not self._rate:
            return 0.0
        return round(sum(count for _, count in self._rate) / max(1.0, now - self._rate[0][0]), 1)
