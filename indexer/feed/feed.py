"""This process's share of the attached indices. One round:

lost tasks -> discovery, hand-over, take-over -> shard stats -> reports of workers -> steps of the due indices -> checkpoints

An index is due when its shard stats were read, or when one of its tasks ended. Each index fails and pauses alone. The step of a
slow index continues in the background; the next round does not wait for it.
"""

import asyncio
import time
from collections.abc import Collection
from typing import Any

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from esblend.broker import Report
from esblend.errors import IndexUnavailable
from esblend.settings import Settings
from indexer.care.mean_vectors import MeanVectorRefresh
from indexer.feed.checkpoints import Checkpoint, Version
from indexer.feed.credit import Credit
from indexer.feed.discovery import Discovery
from indexer.feed.followed import Followed
from indexer.feed.index_feed import IndexFeed
from indexer.feed.leases import Leases
from indexer.feed.letter_tasks import LetterTasks
from indexer.feed.lost_tasks import LostTasks
from indexer.feed.metrics import remove_progress, show_progress
from indexer.feed.ownership import TAKEN, Ownership
from indexer.feed.saved_checkpoint import LeaseLostError
from indexer.feed.shard_changes import IndexShards
from indexer.feed.shard_watch import ShardWatch
from indexer.feed.step_places import StepPlaces
from indexer.feed.task_queue import TaskQueue
from mappings.dead_letter_index import DEAD_LETTERS_INDEX

log = structlog.get_logger()
_LOST_CHECK_SECONDS = 2.0


class Feed:
    """One `IndexFeed` for each generation of each index that this process follows."""

    def __init__(self, es: AsyncElasticsearch, queue: TaskQueue, leases: Leases, settings: Settings) -> None:
        self.followed = Followed()
        self._es = es
        self._queue = queue
        self._leases = leases
        self._settings = settings
        self._discovery = Discovery(es, queue)
        self._discovered_at = float("-inf")
        self._attached_before: frozenset[str] = frozenset()
        self.ownership = Ownership(es, leases, self._discovery, self.followed, self._follow, self._unfollow)
        self._mean_vectors = MeanVectorRefresh(es)
        self._credit = Credit()
        self._lost = LostTasks(settings.feed_task_timeout_seconds)
        self._looked_for_lost = 0.0
        self._letters = LetterTasks(es, queue, self._discovery)
        self._steps: dict[str, asyncio.Task[None]] = {}
        self._ended: set[str] = set()
        """The keys of indices whose step was ended because they are to be released."""
        self._places = StepPlaces()
        self._watch = ShardWatch(es, DEAD_LETTERS_INDEX)
        self._changes_seen = 0
        self._shards_read_at = float("-inf")
        self._taking = asyncio.Lock()

    @property
    def feeds(self) -> dict[str, IndexFeed]:
        return self.followed.feeds

    @property
    def mapping_changes(self) -> int:
        """How often mappings were read because the cluster state had changed."""
        return self._discovery.changes

    async def prepare(self) -> None:
        """Reach Redis and find the attached indices, before this process joins the others: they leave its share to it at once."""
        await asyncio.to_thread(self._queue.mark)
        await self._discovery.look()

    async def round(self) -> None:
        """One round over all indices. Raises the errors of Elasticsearch and Redis that concern all of them."""
        if self._leases.is_late:
            log.warning("heartbeat late; no tasks are sent until it continues")
            await asyncio.sleep(self._settings.feed_poll_seconds)
            return
        self._leases.is_at_rest = not self.followed.active
        self._leases.in_flight, self._credit.others = self._credit.in_flight, self._leases.in_flight_of_others
        await self._recover_lost_tasks()
        if time.monotonic() - self._discovered_at >= self._settings.feed_discovery_seconds:
            if await self._discovery.look(is_at_rest=not self.followed.active):
                self._suspect_shards()
                self.ownership.unfollow_detached()
            await self._discovery.delete_stale()
            await self._forget_mean_vectors()
            await self.ownership.check()
            await self.ownership.take_over()
            await self._send_letters()
            self._discovered_at = time.monotonic()
        elif self._leases.dead or self.ownership.members_changed:
            await self.ownership.take_over()
        await self._look_at_shards()
        # After the stats, so that the workers' writes below the global checkpoints are known.
        await self._take_reports()
        await self._collect_steps(self._start_steps())

    def _suspect_shards(self) -> None:
        if self._changes_seen != self._discovery.changes:  # else the mappings were read after a while without a change
            self._changes_seen = self._discovery.changes
            self._watch.suspect_all()

    async def _send_letters(self) -> None:
        """Requests on dead letters wait while their index cannot be read; changes do not. Raises the errors of Redis."""
        if not self._letters.is_due(self._watch.beside_counters):
            return
        try:
            await self._letters.send(self.feeds)
        except (ApiError, TransportError, IndexUnavailable) as error:
            log.warning("requests on dead letters not read", cause=_describe(error))

    def _start_steps(self) -> set[str]:
        """Start the steps of the due indices that have none; returns their keys."""
        self._end_overdue_steps()
        started = self.followed.due - self._steps.keys()
        for key in started:
            feed = self.feeds[key]
            self.followed.due.discard(key)
            self.followed.active.add(key)  # a worker may report the end of its task before the step has ended
            self._steps[key] = asyncio.create_task(self._step(key, feed, self._watch.shards.get(feed.index)))
        return started

    async def _look_at_shards(self) -> None:
        if time.monotonic() - self._shards_read_at >= self._settings.feed_poll_seconds:
            self.followed.make_due(await self._watch.look(self.followed.indices, self.followed.active_indices))
            self._shards_read_at = time.monotonic()
            self._mean_vectors.start_next()

    async def wait(self) -> None:
        """Wait for a report of a worker, at most until shard stats are due again. Before the first round, return at once."""
        if self.followed.due - self._steps.keys():
            return  # tasks ended while their index had a step
        seconds = self._shards_read_at + self._settings.feed_poll_seconds - time.monotonic()
        if seconds > 0 and self.followed.is_busy:
            self._note(await asyncio.to_thread(self._queue.wait_for_report, seconds))
        else:
            await asyncio.sleep(max(0.0, seconds))

    async def _take_reports(self) -> None:
        """Process the workers' reports since the last call, and notice an emptied Redis. The end of a step does not end this: the
        reports are also those of other indices, and no longer in Redis."""
        await asyncio.shield(self._take_reports_to_the_end())

    async def _take_reports_to_the_end(self) -> None:
        async with self._taking:
            reports, was_emptied = await asyncio.to_thread(self._queue.take)
            self._note(reports)
            if was_emptied:
                if self.followed.is_busy:
                    log.warning("Redis was emptied; unfinished changes are read again")
                for key in self.followed.active:
                    self.feeds[key].lose(list(self.feeds[key].tasks))
                self._lost.forget()
                await asyncio.to_thread(self._queue.mark)

    def _note(self, reports: list[Report]) -> None:
        """Pass reports to the indices of their tasks. Unknown tasks are ignored: they were sent again, or nobody follows their
        index here any more."""
        senders = {task: key for key in self.followed.active for task in self.feeds[key].tasks} if reports else {}
        for report in reports:
            key = senders.get(report.task)
            if key is not None:
                self.feeds[key].note(report)
                if report.is_end:
                    self.followed.due.add(key)
                    if not self.feeds[key].is_busy:
                        # Its work may be done. Only stats that contain the workers' writes prove it.
                        self._shards_read_at = float("-inf")

    def _end_overdue_steps(self) -> None:
        """End the steps of indices that other processes wait for: a refresh may take a minute. The next step releases the index."""
        overdue = {key for key in self.followed.active if self.feeds[key].is_overdue}
        for key in (overdue & self._steps.keys()) - self._ended:
            self._steps[key].cancel()
        self._ended = overdue

    async def _collect_steps(self, started: Collection[str] = ()) -> None:
        """Wait for the `started` steps, but not for slow ones. Raises the errors of Redis, which concern all indices."""
        if started:
            await asyncio.wait([self._steps[key] for key in started], timeout=self._settings.feed_poll_seconds)
        finished = {key: step for key, step in self._steps.items() if step.done()}
        self._steps = {key: step for key, step in self._steps.items() if key not in finished}
        for error in [step.exception() for step in finished.values() if not step.cancelled()]:
            if error is not None:
                raise error

    async def _step(self, key: str, feed: IndexFeed, shards: IndexShards | None) -> None:
        async with self._places.one():
            try:
                if feed.may_be_released:
                    await feed.saved.release(feed.positions.all())
                    self._unfollow(key, feed, "handed over")
                elif shards is None or shards.uuid != feed.checkpoint.uuid:
                    await self._pause_missing(feed)
                else:
                    await feed.step(shards)
                    self._consider_mean_vector(key, feed, shards)
            except LeaseLostError:
                self._unfollow(key, feed, TAKEN)
                return
            except (RedisError, OperationalError):
                raise
            except (ApiError, TransportError, OSError, IndexUnavailable) as error:
                feed.fail(_describe(error))
                await self._save_pause(key, feed)
            except Exception as error:
                log.error("unexpected error of one index", index=feed.index, exc_info=error)
                feed.fail(_describe(error))
                await self._save_pause(key, feed)
        if self.feeds.get(key) is feed:
            self.followed.settle(key)
            show_progress(feed, shards)

    def _consider_mean_vector(self, key: str, feed: IndexFeed, shards: IndexShards) -> None:
        attached = self._discovery.attached.get(key)
        if attached is not None:
            self._mean_vectors.consider(
                feed.index, shards.uuid, feed.checkpoint.generation, attached.attachment, shards.writes
            )

    async def _pause_missing(self, feed: IndexFeed) -> None:
        if feed.checkpoint.paused_because is None:
            feed.fail("it is closed or deleted, or its primary shards are not assigned")
        await feed.saved.save_if_changed(at_once=True)
        feed.is_missing = True

    async def _save_pause(self, key: str, feed: IndexFeed) -> None:
        """Show the pause in the status of the index."""
        try:
            await feed.saved.save_if_changed(at_once=False)
        except LeaseLostError:
            self._unfollow(key, feed, TAKEN)
        except (ApiError, TransportError) as error:
            log.warning("checkpoint not saved", index=feed.index, cause=_describe(error))

    async def _forget_mean_vectors(self) -> None:
        """Delete the mean vectors of detached indices. While an index is closed, all are kept."""
        keys = frozenset(self._discovery.attached)
        if keys == self._attached_before:
            return
        if self._discovery.unavailable or await self._mean_vectors.forget_others(set(keys), self._discovery.unreadable):
            self._attached_before = keys

    def _follow(self, key: str, ours: Checkpoint, version: Version) -> None:
        feed = IndexFeed(ours, version, self._es, self._queue, self._settings, self._credit, self._take_reports)
        feed.backfill = self._discovery.attached[key].attachment.backfill
        self.followed.add(key, feed)
        self._credit.join(key)
        log.info("following", index=feed.index, generation=ours.generation, resumed=bool(ours.shards))

    def _unfollow(self, key: str, feed: IndexFeed, event: str) -> None:
        if self.feeds.get(key) is feed:
            self.followed.remove(key)
            self._credit.leave(key)
            self._mean_vectors.leave(key)
            remove_progress(feed)
            step = self._steps.get(key)
            if step is not None and step is not asyncio.current_task():
                step.cancel()  # it would go on sending tasks, and save a checkpoint that another process may have deleted
            log.info(event, index=feed.index, generation=feed.checkpoint.generation)

    async def leave_to_others(self) -> None:
        """While this process cannot work: leave its indices to the processes that can, if there are any. Raises the errors of
        Elasticsearch."""
        if self._leases.working_others:
            await self._cancel_steps()
            await self.ownership.leave_all()

    def show_outage(self, since: float) -> None:
        """Set the gauges while the rounds of this process fail: no index has a lag of 0."""
        self.followed.active |= self.feeds.keys()  # the first step after the outage sets the gauges again
        for feed in self.feeds.values():
            show_progress(feed, None, outage_since=since)

    async def _recover_lost_tasks(self) -> None:
        """Every two seconds: count the workers, find ends that were not reported, and read again the changes of lost tasks."""
        if time.monotonic() - self._looked_for_lost < _LOST_CHECK_SECONDS:
            return
        self._looked_for_lost = time.monotonic()
        self._credit.workers = await asyncio.to_thread(self._queue.living_workers)
        active = [self.feeds[key] for key in self.followed.active]
        tasks = {task: sent for feed in active for task, sent in feed.tasks.items()}
        if not tasks:
            self._lost.forget()
            return
        ends = await asyncio.to_thread(self._queue.missed, list(tasks))
        self._note(ends)
        for end in ends:
            tasks.pop(end.task)
        view = await asyncio.to_thread(self._queue.view, list(tasks))
        lost = self._lost.look(tasks, view, time.monotonic())
        for feed in active:
            ours = {task: reason for task, reason in lost.items() if task in feed.tasks}
            if ours:
                log.warning("tasks lost; their changes are read again", index=feed.index, tasks=len(ours),
                            reason=next(iter(ours.values())))  # fmt: skip
                feed.lose(list(ours))

    async def stop(self) -> None:
        """End all steps, and let the other processes take over immediately."""
        await self._cancel_steps()
        await self._mean_vectors.stop()
        await self._discovery.stop()
        await self._leases.resign()

    async def _cancel_steps(self) -> None:
        steps, self._steps = self._steps, {}
        for step in steps.values():
            step.cancel()
        await asyncio.gather(*steps.values(), return_exceptions=True)


def _describe(error: Any) -> str:
    reason = error.error if isinstance(error, ApiError) else str(error)[:200]
    return f"{type(error).__name__}: {reason}"
