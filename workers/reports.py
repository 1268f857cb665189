"""Pushes reports of a range task to the feed that waits for it: the worker's own writes, and the end of the task."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from esblend.broker import FEED_HEADER, VISIBILITY_SECONDS, EmbedResult, Report, reports_key

_FEED = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Reports:
    """The reports of one task. Without a `feed` nobody waits for them."""

    redis: Redis
    feed: str | None
    task: str

    def written(self, numbers: Iterable[int]) -> None:
        """Report the sequence numbers of writes."""
        runs = runs_of(numbers)
        if runs:
            self._push(Report(task=self.task, written=runs))

    def ended(self, result: EmbedResult | None) -> None:
        """Report the result; None: the task failed."""
        self._push(Report(task=self.task, is_end=True, result=result))

    def _push(self, report: Report) -> None:
        if self.feed is None:
            return
        key = reports_key(self.feed)
        with suppress(RedisError), self.redis.pipeline(transaction=True) as pipeline:
            pipeline.rpush(key, report.model_dump_json(exclude_defaults=True))
            pipeline.expire(key, VISIBILITY_SECONDS)
            pipeline.execute()


def reports_of(redis: Redis, task: str, headers: Mapping[str, Any]) -> Reports:
    """The reports of a task to the feed that its message names. The message comes from outside."""
    feed = headers.get(FEED_HEADER)
    is_feed = isinstance(feed, str) and _FEED.fullmatch(feed) is not None
    return Reports(redis, feed if is_feed else None, task)


def runs_of(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Sequence numbers as runs without a gap, in order."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number <= runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
