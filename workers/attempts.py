"""Counts the attempts at each document that never ended, so that a document that kills its worker becomes a dead letter."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog
from redis import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()
MAX_TOGETHER = 2
"""After this many unfinished attempts a document is embedded alone."""
MAX_ATTEMPTS = 4
"""After this many unfinished attempts it is a dead letter: two in a batch, two alone."""
_KEEP_SECONDS = 24 * 3600


class Attempts:
    """One counter in Redis for each document, from the start of its embedding to its end.

    Only a process that dies leaves counters behind; an exception removes them as well. When Redis is unavailable or emptied,
    counting starts again from 0.
    """

    def __init__(self, redis: Redis, scope: str) -> None:
        self._redis = redis
        self._key = f"esblend:attempts:{scope}"

    def count(self, documents: Sequence[str]) -> list[int]:
        """The number of unfinished attempts at each document."""
        if documents:
            with suppress(RedisError):
                return [int(count or 0) for count in self._redis.hmget(self._key, list(documents))]
        return [0] * len(documents)

    @contextmanager
    def started(self, documents: Sequence[str]) -> Iterator[None]:
        """Count one attempt at each document while the block runs."""
        self._increment(documents)
        try:
            yield
        finally:
            self.forget(documents)

    def forget(self, documents: Sequence[str]) -> None:
        if documents:
            with suppress(RedisError):
                self._redis.hdel(self._key, *documents)

    def _increment(self, documents: Sequence[str]) -> None:
        with suppress(RedisError), self._redis.pipeline(transaction=True) as pipeline:
            for document in documents:
                pipeline.hincrby(self._key, document, 1)
            pipeline.expire(self._key, _KEEP_SECONDS)
            pipeline.execute()
