"""Decides which tasks were lost on their way to a worker or with one.

A worker announces in Redis that it has received a task, and renews a key while it lives. So a task is
  held by a living worker      -> in progress; lost only after `timeout` seconds
  no longer held by it         -> as if held by nobody: it ended while Redis was away
  held by a dead worker        -> lost
  held by nobody, queue empty  -> lost
  held by nobody, overtaken    -> lost: the queues are first in, first out, and a task sent later has reached a worker
  held by nobody otherwise     -> waiting, for as long as the queue needs
Sending a task again by mistake is harmless: workers skip unchanged documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from esblend.broker import Lane

GRACE_SECONDS = 5.0
"""A message is invisible for a moment between the queue and the worker's announcement."""


@dataclass(frozen=True)
class SentTask:
    """A task that the feed waits for: its range (`after`, `until`] and its limit. `sent_at`: monotonic seconds."""

    lane: Lane
    shard: int
    after: int
    until: int
    max_documents: int
    sent_at: float


@dataclass(frozen=True)
class QueueView:
    """The worker that holds each task, the workers that are alive, and the number of waiting messages in each lane. A task that
    its living worker holds no longer has no holder."""

    holders: Mapping[str, str]
    living_workers: frozenset[str]
    waiting: Mapping[Lane, int]


@dataclass
class _Observed:
    lane: Lane
    sent_at: float
    held_since: float | None = None
    suspected_since: float | None = None


class LostTasks:
    """Observes the tasks of one feed process over time."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._observed: dict[str, _Observed] = {}
        self._newest_held: dict[Lane, float] = {}
        self._last_forced: dict[Lane, float] = {}

    def forget(self) -> None:
        """Forget everything: the queue was emptied, and all tasks are sent again."""
        self._observed.clear()
        self._newest_held.clear()

    def look(self, tasks: Mapping[str, SentTask], view: QueueView, now: float) -> dict[str, str]:
        """The lost tasks among all unfinished `tasks`, each with the reason."""
        for task in self._observed.keys() - tasks.keys():
            finished = self._observed.pop(task)  # it reached a worker, even if no look saw it there
            self._note_held(finished.lane, finished.sent_at)
        for task, sent in tasks.items():
            observed = self._observed.setdefault(task, _Observed(sent.lane, sent.sent_at))
            if task in view.holders:
                observed.held_since = observed.held_since or now
                self._note_held(sent.lane, sent.sent_at)
        lost = {task: reason for task in tasks if (reason := self._reason(task, view, now))}
        lost |= self._waiting_too_long(tasks.keys() - lost.keys(), view, now)
        for task in lost:
            del self._observed[task]
        return lost

    def _note_held(self, lane: Lane, sent_at: float) -> None:
        self._newest_held[lane] = max(sent_at, self._newest_held.get(lane, sent_at))

    def _reason(self, task: str, view: QueueView, now: float) -> str | None:
        observed = self._observed[task]
        holder = view.holders.get(task)
        if holder is not None:
            observed.suspected_since = None
            if holder not in view.living_workers:
                return "its worker is gone"
            is_late = now - (observed.held_since or now) > self._timeout
            return "its worker does not finish it" if is_late else None
        is_overtaken = observed.sent_at < self._newest_held.get(observed.lane, float("-inf"))
        if view.waiting.get(observed.lane, 0) > 0 and not is_overtaken:
            observed.suspected_since = None
            return None
        observed.suspected_since = observed.suspected_since or now
        return "it left the queue" if now - observed.suspected_since >= GRACE_SECONDS else None

    def _waiting_too_long(self, tasks: set[str], view: QueueView, now: float) -> dict[str, str]:
        """At most one task a lane within `timeout`: its repetition overtakes the others if they were lost, too. So a queue
        without workers does not fill with repetitions."""
        lost = {}
        for task in sorted(tasks, key=lambda task: self._observed[task].sent_at):
            observed = self._observed[task]
            is_old = now - observed.sent_at > self._timeout and task not in view.holders
            if is_old and now - self._last_forced.get(observed.lane, float("-inf")) > self._timeout:
                self._last_forced[observed.lane] = now
                lost[task] = "it waits too long"
        return lost
