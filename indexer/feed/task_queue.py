"""Hands work to the workers, and learns what became of it."""

import contextlib
import uuid
from dataclasses import dataclass
from typing import Any

import orjson
from celery import Celery
from celery.result import AsyncResult
from redis import Redis
from redis.exceptions import RedisError

from esblend import tracing
from esblend.broker import (
    ATTACH_TASK,
    EMBED_TASK,
    AttachTask,
    EmbedResult,
    EmbedTask,
    Lane,
    make_celery,
    queue_name,
    running_key,
    written_key,
)
from esblend.redis_connection import connect_redis
from esblend.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """A finished task: its result, or None when it failed."""

    task: str
    result: EmbedResult | None


class TaskQueue:
    """The Celery queues as the feed sees them. All calls block shortly; the feed runs them in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._app: Celery = make_celery(settings)
        self._redis: Redis = connect_redis(settings, timeout=10)
        self._redelivers = settings.broker_url is not None
        self._token = f"esblend:feed:{uuid.uuid4()}"

    def send(self, lane: Lane, task: EmbedTask) -> str:
        """Queue a task; gives its id."""
        traces = self._traces(task) if tracing.is_on() else {}
        writes = list(dict.fromkeys(traces.values()))
        first = writes[0] if writes else None
        told: dict[str, str | int] = {"index": task.index, "lane": lane, "documents": len(task.documents)}
        with tracing.span("send task", told, kind="producer", parent=first, links=writes[1:]):
            headers = {"traceparent": tracing.traceparent(), "traces": traces} if tracing.is_on() else None
            sent: AsyncResult = self._app.send_task(
                EMBED_TASK, kwargs=task.model_dump(), queue=queue_name(lane), headers=headers
            )
        return str(sent.id)

    def _traces(self, task: EmbedTask) -> dict[str, str]:
        """The trace of each document's write, for those that came through a gateway that traces."""
        keys = [tracing.change_key(task.index, document.id, document.seq_no) for document in task.documents]
        with contextlib.suppress(RedisError):
            found: list[Any] = self._redis.mget(keys)
            pairs = zip(task.documents, found, strict=True)
            return {document.id: value.decode() for document, value in pairs if value is not None}
        return {}

    def ask_to_attach(self, index: str) -> None:
        """Queue the wish of an index to be attached."""
        self._app.send_task(ATTACH_TASK, kwargs=AttachTask(index=index).model_dump(), queue=queue_name("live"))

    def collect(self, tasks: list[str]) -> list[Outcome]:
        """Those of `tasks` that have finished; their results leave Redis."""
        outcomes = []
        for task in tasks:
            result = AsyncResult(task, app=self._app)
            if not result.ready():
                continue
            value = result.result if result.successful() else None
            outcomes.append(Outcome(task, EmbedResult.model_validate(value) if isinstance(value, dict) else None))
            result.forget()
        return outcomes

    def written(self, tasks: list[str]) -> dict[str, dict[str, int]]:
        """What the workers wrote for each of `tasks` since this was last asked: sequence numbers by document id."""
        found: dict[str, dict[str, int]] = {task: {} for task in tasks}
        with self._redis.pipeline(transaction=True) as pipeline:
            for task in tasks:
                pipeline.lrange(written_key(task), 0, -1)
                pipeline.delete(written_key(task))
            for task, portions in zip(tasks, pipeline.execute()[::2], strict=True):
                for portion in portions:
                    found[task] |= orjson.loads(portion)
        return found

    def wait(self, task: str, *, seconds: float) -> EmbedResult:
        """The result of a task. Raises Celery's TimeoutError, or what the task raised."""
        value = AsyncResult(task, app=self._app).get(timeout=seconds, interval=0.1)
        return EmbedResult.model_validate(value)

    def mark(self) -> None:
        """Leave a mark in Redis; when it is gone, Redis was emptied and so were the queues."""
        self._redis.set(self._token, 1)

    def was_emptied(self) -> bool:
        return not self._redis.exists(self._token)

    def are_abandoned(self, tasks: list[str]) -> bool:
        """Whether some of `tasks` are neither waiting nor being worked on: their worker was killed.

        A worker renews a key for the task it works on. Only asked when the queues are empty, since tasks that
        wait have no such key. RabbitMQ notices by itself, and gives them to another worker.
        """
        if self._redelivers:
            return False
        if any(self._redis.llen(queue_name(lane)) for lane in ("live", "backfill")):
            return False
        return not all(self._redis.mget([running_key(task) for task in tasks]))

    def close(self) -> None:
        self._redis.close()
        self._app.close()
