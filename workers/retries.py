"""Retries of requests to Elasticsearch: exponential back-off with jitter, and one time limit for the whole task."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import structlog
from elasticsearch import ApiError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

from esblend.elasticsearch_connection import RETRY_FIRST_SECONDS, RETRY_MOST_SECONDS, is_passing
from esblend.metrics import RETRIES

log = structlog.get_logger()
T = TypeVar("T")
TASK_SECONDS = 540.0
"""The retries of a task end after this time. Then the task fails, and the feed sends its changes again."""
_deadline: ContextVar[float | None] = ContextVar("deadline of the retries", default=None)


class QueueFull(Exception):  # noqa: N818
    """Elasticsearch rejected some items of a bulk request because a queue is full."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def retry_limit(seconds: float = TASK_SECONDS) -> Iterator[None]:
    """All retries within the block end `seconds` after its start, however many requests it sends."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def retried(call: Callable[[], T], *, is_final: Callable[[Exception], bool] = lambda _: False) -> T:
    """The result of `call`, repeated while Elasticsearch is unavailable or overloaded.

    Raises the call's error when it is permanent, when `is_final` says so, or when the time limit is reached.
    """

    def may_pass(error: BaseException) -> bool:
        if not isinstance(error, Exception) or is_final(error):
            return False
        return isinstance(error, QueueFull) or is_passing(error)

    deadline = _deadline.get()
    seconds = TASK_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
    attempts = Retrying(
        retry=retry_if_exception(may_pass),
        wait=wait_random_exponential(multiplier=RETRY_FIRST_SECONDS, max=RETRY_MOST_SECONDS),
        stop=stop_before_delay(seconds),
        before_sleep=_report,
        reraise=True,
    )
    return attempts(call)


def _report(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    RETRIES.labels(str(error.meta.status) if isinstance(error, ApiError) else type(error).__name__).inc()
    log.warning(
        "Elasticsearch unavailable", retry_in_seconds=round(state.upcoming_sleep, 1), cause=type(error).__name__
    )
