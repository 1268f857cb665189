"""Shares the tasks that may be unfinished between the indices of a feed process.

The queue is first in, first out. Its length decides how long the first task of an index waits behind the tasks of the others, so
the number of unfinished tasks of all processes follows the number of living workers, and every index with changes gets an equal
part of it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from esblend.broker import Lane

_TASKS_PER_WORKER = 2
"""One in progress and one that the worker has received."""
_LEAST_TASKS = 4
"""Of all feeds together, while no worker is known: those of an earlier version do not register."""


@dataclass
class Credit:
    """The number of tasks that the indices of this process may have in flight, in each lane."""

    workers: int = 0
    others: Sequence[Mapping[Lane, int]] = ()
    """The unfinished tasks of each other feed process, which use the same workers."""
    _members: set[str] = field(default_factory=set)
    _in_flight: dict[Lane, Counter[str]] = field(default_factory=lambda: {"live": Counter(), "backfill": Counter()})

    @property
    def in_flight(self) -> dict[Lane, int]:
        """The unfinished tasks of this process."""
        return {lane: counts.total() for lane, counts in self._in_flight.items()}

    def tasks(self, lane: Lane) -> int:
        """Tasks of a lane for all indices of this process: what the other processes leave, and at least an equal part. One is
        spare, so that no worker waits for the feed."""
        all_tasks = max(_LEAST_TASKS, _TASKS_PER_WORKER * self.workers + 1)
        of_others = [tasks for other in self.others if (tasks := other.get(lane, 0)) > 0]
        equal_part = -(-all_tasks // (1 + len(of_others)))
        return max(equal_part, all_tasks - sum(of_others))

    def allows(self, lane: Lane, index: str) -> bool:
        """Whether an index may send another task: always its first one, then its equal part of the tasks."""
        counts = self._in_flight[lane]
        own = counts[index]
        if own == 0:
            return True
        tasks = self.tasks(lane)
        return own < max(1, tasks // len(counts)) and counts.total() < tasks

    def join(self, index: str) -> None:
        """This process follows the index now."""
        self._members.add(index)

    def leave(self, index: str) -> None:
        """Another process follows this index, or nobody. A step that has not ended yet changes nothing any more."""
        self._members.discard(index)
        for counts in self._in_flight.values():
            counts.pop(index, None)

    def set(self, lane: Lane, index: str, tasks: int) -> None:
        """Note the number of unfinished tasks of an index."""
        if tasks and index in self._members:
            self._in_flight[lane][index] = tasks
        else:
            self._in_flight[lane].pop(index, None)
