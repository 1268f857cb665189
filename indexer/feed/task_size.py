"""Decides how many documents go into one task."""

from dataclasses import dataclass

TASK_SECONDS = 3.0
"""Target duration of a task: short enough for live changes to run between two backfill tasks, long enough for the worker to
overlap reading, encoding and writing."""
BACKFILL_SECONDS = 8.0
"""The same for a backfill whose tasks end early for live changes: between two tasks a worker computes nothing for a moment."""
_MIN_DOCUMENTS = 16
_FIRST_DOCUMENTS = 32
_FIRST_OF_BACKFILL = 256
"""A worker ends such a task early when it takes long."""
_FIRST_TASKS = 4
_WEIGHT_OF_NEWEST = 0.3
_MAX_GROWTH = 2.0


@dataclass
class TaskSize:
    """The size of the next task, learned from the duration of finished tasks.

    Tasks whose documents were mostly unchanged are fast. They let the size grow too, by a factor of at most two a task, but few
    of them are in flight: the first task with changed documents shows the encoder's speed again.
    """

    max_documents: int
    _per_second: float | None = None
    _is_encoding: bool = False

    @property
    def documents(self) -> int:
        if self._per_second is None:
            return min(self.max_documents, _FIRST_DOCUMENTS)
        return int(min(self.max_documents, max(_MIN_DOCUMENTS, self._per_second * TASK_SECONDS)))

    def of_backfill(self, remaining: int, workers: int) -> int:
        """The documents of a long task, with `remaining` changes in its shard. The last tasks are shorter, so that all workers end
        at about the same time (guided self-scheduling: Polychronopoulos and Kuck, IEEE Transactions on Computers, 1987)."""
        longest = _FIRST_OF_BACKFILL if self._per_second is None else int(self._per_second * BACKFILL_SECONDS)
        return max(self.documents, min(self.max_documents, longest, remaining // (2 * max(1, workers))))

    def max_in_flight(self, limit: int) -> int:
        """Tasks that may be in flight, at most `limit`. Few until a task has shown how fast the workers encode."""
        return limit if self._is_encoding else min(limit, _FIRST_TASKS)

    def learn(self, *, documents: int, written: int, seconds: float) -> None:
        """Learn from a finished task of `documents`, of which `written` got new vectors. Tiny tasks are ignored."""
        if documents < _MIN_DOCUMENTS or seconds <= 0:
            return
        newest = documents / seconds
        is_encoding = written > documents / 2
        if not is_encoding:
            self._per_second = min(newest, _MAX_GROWTH * (self._per_second or _FIRST_DOCUMENTS / TASK_SECONDS))
        elif self._per_second is None or not self._is_encoding:
            self._per_second = newest
        else:
            self._per_second += _WEIGHT_OF_NEWEST * (newest - self._per_second)
        self._is_encoding = is_encoding
