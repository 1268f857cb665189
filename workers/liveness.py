"""Whether a worker process works: served at `/live`, so that a supervisor restarts a stuck one.

parent: its loop notes the time every second
child: notes the begin and end of each task, and for how long every task fails -> /live, served by a thread of the child
"""

import time
from multiprocessing import Value
from typing import Any

from celery.signals import task_postrun, task_prerun, worker_ready

from workers.step_back import StepBack

PARENT_STUCK_SECONDS = 120.0
FAILING_SECONDS = 600.0
"""A worker whose every task fails for this long is restarted: a broken CUDA context heals no other way."""
_TURN_SECONDS = 1.0


class WorkerLiveness:
    """Make it before the fork: parent and child share the time of the parent's last turn."""

    def __init__(self, step_back: StepBack, task_seconds: float) -> None:
        """`task_seconds`: a task that runs longer is stuck; the feed sends its documents again by then."""
        self._step_back = step_back
        self._task_seconds = task_seconds
        self._parent_turned_at = Value("d", 0.0, lock=False)
        self._task_began_at: float | None = None
        worker_ready.connect(self._watch_parent, weak=False)
        task_prerun.connect(self._begin, weak=False)
        task_postrun.connect(self._end, weak=False)

    def is_alive(self) -> bool:
        """Whether this worker works; called in the child. `time.monotonic` is the same clock in all processes of a machine."""
        now = time.monotonic()
        turned_at = self._parent_turned_at.value
        is_parent_stuck = turned_at > 0 and now - turned_at > PARENT_STUCK_SECONDS  # 0: it is starting
        began_at = self._task_began_at
        is_task_stuck = began_at is not None and now - began_at > self._task_seconds
        return not (is_parent_stuck or is_task_stuck or self._step_back.failing_seconds > FAILING_SECONDS)

    def _watch_parent(self, sender: Any, **_: Any) -> None:
        self._turn()
        sender.timer.call_repeatedly(_TURN_SECONDS, self._turn)

    def _turn(self) -> None:
        self._parent_turned_at.value = time.monotonic()

    def _begin(self, **_: Any) -> None:
        self._task_began_at = time.monotonic()

    def _end(self, **_: Any) -> None:
        self._task_began_at = None
