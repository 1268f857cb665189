"""Waits out an Elasticsearch that is away or overloaded, within bounds."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError

from esblend.elasticsearch_connection import back_off, is_passing
from esblend.metrics import RETRIES

log = structlog.get_logger()
T = TypeVar("T")
ATTEMPTS = 40
"""With the back-off between them, about nine minutes."""


@dataclass(frozen=True)
class Attempt:
    number: int

    @property
    def is_last(self) -> bool:
        return self.number == ATTEMPTS - 1


def patiently_again() -> Iterator[Attempt]:
    """Attempts with back-off between them; the first at once."""
    for number in range(ATTEMPTS):
        if number:
            time.sleep(back_off(number - 1))
        yield Attempt(number)


def patiently(call: Callable[[], T], *, gives_up: Callable[[Exception], bool] = lambda _: False) -> T:
    """The result of `call`, tried again while Elasticsearch is away. Raises its error when it is no passing one or
    `gives_up` says so, or when the attempts are used up: then the feed reads the task's changes again."""
    for attempt in patiently_again():
        try:
            return call()
        except (ApiError, TransportError) as error:
            if attempt.is_last or gives_up(error) or not is_passing(error):
                raise
            RETRIES.labels(str(error.meta.status) if isinstance(error, ApiError) else type(error).__name__).inc()
            log.warning("Elasticsearch is away", retry_in_seconds=back_off(attempt.number), cause=type(error).__name__)
    raise AssertionError("unreachable: the last attempt returns or raises")
