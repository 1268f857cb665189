"""Counts how often a document was begun and not finished, so that one that kills its worker is not tried for ever."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog
from redis import Redis
from redis.exceptions import RedisError

log = structlog.get_logger()
MAX_TOGETHER = 2
"""A document begun this often without an end is tried alone from then on."""
MAX_ATTEMPTS = 4
"""One begun this often is a dead letter: twice in a batch, twice alone."""
_KEEP_SECONDS = 24 * 3600


class Attempts:
    """Counters in Redis, one a document, that live from the beginning of its embedding to its end.

    Only a process that dies leaves them behind: an error that is raised ends them too. When Redis is away or was
    emptied they count from nothing again, so the bound is on the attempts between two such events.
    """

    def __init__(self, redis: Redis, scope: str) -> None:
        self._redis = redis
        self._key = f"esblend:attempts:{scope}"

    def of(self, documents: Sequence[str]) -> list[int]:
        """How often each document was begun before."""
        if documents:
            with suppress(RedisError):
                return [int(count or 0) for count in self._redis.hmget(self._key, list(documents))]
        return [0] * len(documents)

    @contextmanager
    def begun(self, documents: Sequence[str]) -> Iterator[None]:
        """Count the documents as begun for as long as the block runs."""
        self._count(documents)
        try:
            yield
        finally:
            self.forget(documents)

    def forget(self, documents: Sequence[str]) -> None:
        if documents:
            with suppress(RedisError):
                self._redis.hdel(self._key, *documents)

    def _count(self, documents: Sequence[str]) -> None:
        with suppress(RedisError), self._redis.pipeline(transaction=True) as pipeline:
            for document in documents:
                pipeline.hincrby(self._key, document, 1)
            pipeline.expire(self._key, _KEEP_SECONDS)
            pipeline.execute()
