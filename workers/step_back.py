"""A worker that fails every task steps back: it waits before the next task, says so, and is not ready.

failure, failure, failure -> not ready, wait 0.5 s, 1 s, ... 15 s after each further failure -> success -> ready

The cause is the worker's own: wrong model files, a broken CUDA context, an encoder service that is unavailable. Without the
wait it would take all tasks of the queue, and the other workers would get none.
"""

import time

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError
from redis.exceptions import RedisError

from esblend.elasticsearch_connection import back_off
from esblend.errors import IndexUnavailable, UnknownMessage
from esblend.ready_file import announce_ready, forget_ready
from esblend.settings import Settings

log = structlog.get_logger()
FAILURES = 3
"""After this many failed tasks in a row the worker steps back."""


def is_workers_fault(error: Exception) -> bool:
    """Whether an error says something about this worker, and not about an index, a message, or a server."""
    return not isinstance(error, IndexUnavailable | UnknownMessage | ApiError | TransportError | RedisError)


class StepBack:
    """Counts failed tasks in a row."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failures = 0
        self._must_wait = False
        self._failing_since: float | None = None

    @property
    def failing_seconds(self) -> float:
        """For how long every task has failed; 0 while the worker has not stepped back."""
        return 0.0 if self._failing_since is None else time.monotonic() - self._failing_since

    def count_failure(self) -> None:
        self._failures += 1
        if self._failures < FAILURES:
            return
        self._must_wait = True
        if self._failures == FAILURES:
            forget_ready(self._settings)
            self._failing_since = time.monotonic()
        log.error("worker steps back: every task fails", failures=self._failures, wait_seconds=back_off(self._excess()))

    def count_success(self) -> None:
        if self._failures >= FAILURES:
            log.info("worker is ready again")
            announce_ready(self._settings)
        self._failures = 0
        self._must_wait = False
        self._failing_since = None

    def wait(self) -> None:
        """Wait if the last task failed. Called after its result is published and before Celery delivers the next task."""
        if self._must_wait:
            self._must_wait = False
            time.sleep(back_off(self._excess()))

    def _excess(self) -> int:
        return self._failures - FAILURES
