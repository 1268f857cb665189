"""The feed's side of the Celery queues: sends tasks, and receives what workers report.

workers -> list of reports in Redis -> one round trip for all of them, however many tasks are unfinished
       \\-> Celery's result, where a report was lost
"""

import contextlib
import time
import uuid
from collections.abc import Sequence
from typing import Any

import orjson
import structlog
from celery import Celery
from celery.result import AsyncResult
from kombu.exceptions import OperationalError
from pydantic import ValidationError
from redis import Redis
from redis.exceptions import RedisError

from esblend import tracing
from esblend.broker import (
    ATTACH_TASK,
    EMBED_TASK,
    FEED_HEADER,
    LANES,
    VISIBILITY_SECONDS,
    WORKER_ALIVE_SECONDS,
    WORKERS_KEY,
    AttachTask,
    DocumentRef,
    EmbedResult,
    EmbedTask,
    Lane,
    RangeTask,
    Report,
    held_key,
    make_celery,
    queue_name,
    reports_key,
    worker_key,
)
from esblend.redis_connection import connect_redis
from esblend.settings import Settings
from indexer.feed.lost_tasks import QueueView

log = structlog.get_logger()
_FINAL_STATES = ("SUCCESS", "FAILURE", "REVOKED")
_MAX_REPORTS = 10_000
_MIN_WAIT_SECONDS = 0.01
_MAX_WAIT_SECONDS = 5.0


class TaskQueue:
    """All calls block briefly; the feed runs them in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._app: Celery = make_celery(settings)
        self._redis: Redis = connect_redis(settings, timeout=10)
        self._is_in_redis = settings.broker_url is None
        self._feed = uuid.uuid4().hex
        self._token = f"esblend:feed:{self._feed}"
        self._finished: list[str] = []
        """Tasks whose keys are deleted with the next request."""

    def send(
        self,
        lane: Lane,
        task: EmbedTask | RangeTask,
        task_id: str | None = None,
        changes: Sequence[DocumentRef] = (),
    ) -> str:
        """Queue a task; returns its id. `changes`: the documents whose writes' traces the task continues, with tracing on."""
        traces = self._traces(task.index, changes) if changes else {}
        writes = list(dict.fromkeys(traces.values()))
        first = writes[0] if writes else None
        attributes: dict[str, str | int] = {"index": task.index, "lane": lane, "max_documents": task.max_documents}
        # Celery subscribes the sender to each result that it does not ignore, and this process would never read those
        # messages. The header tells the worker to store the result anyway.
        headers: dict[str, Any] = {"ignore_result": False}
        if isinstance(task, RangeTask):
            headers[FEED_HEADER] = self._feed
        with tracing.span("send task", attributes, kind="producer", parent=first, links=writes[1:]):
            if tracing.is_on():
                headers |= {"traceparent": tracing.traceparent(), "traces": traces}
            sent: AsyncResult = self._app.send_task(
                EMBED_TASK,
                kwargs=task.model_dump(),
                task_id=task_id,
                queue=queue_name(lane),
                headers=headers,
                ignore_result=True,
            )
        return str(sent.id)

    def _traces(self, index: str, changes: Sequence[DocumentRef]) -> dict[str, str]:
        """The trace of each document's write, for writes through a gateway with tracing."""
        keys = [tracing.change_key(index, change.id, change.seq_no) for change in changes]
        with contextlib.suppress(RedisError):
            values: list[Any] = self._redis.mget(keys)
            pairs = zip(changes, values, strict=True)
            return {change.id: value.decode() for change, value in pairs if value is not None}
        return {}

    def request_attachment(self, index: str) -> None:
        """Queue the attachment of an index whose mapping requests it."""
        self._app.send_task(
            ATTACH_TASK, kwargs=AttachTask(index=index).model_dump(), queue=queue_name("live"), ignore_result=True
        )

    def take(self) -> tuple[list[Report], bool]:
        """The reports since the last call, and whether Redis was emptied since `mark`. One round trip."""
        finished, self._finished = self._finished, []  # when the request fails, Redis drops their keys after an hour
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.expire(self._token, VISIBILITY_SECONDS)
            pipeline.lrange(reports_key(self._feed), 0, _MAX_REPORTS - 1)
            pipeline.ltrim(reports_key(self._feed), _MAX_REPORTS, -1)
            keys = [key for task in finished for key in (self._result_key(task), held_key(task))]
            if keys:
                pipeline.delete(*keys)
            answers: list[Any] = pipeline.execute()
        return self._parse(answers[1]), not answers[0]

    def wait_for_report(self, seconds: float) -> list[Report]:
        """The next report, as soon as a worker sends it; none after `seconds`, at most five."""
        # A time limit of 0 means no limit, and Redis before version 7 rounds down to milliseconds.
        limit = max(_MIN_WAIT_SECONDS, min(seconds, _MAX_WAIT_SECONDS))
        try:
            answer: Any = self._redis.blpop([reports_key(self._feed)], timeout=limit)
        except RedisError:
            time.sleep(limit)  # the next request raises the error
            return []
        return [] if answer is None else self._parse([answer[1]])

    def _parse(self, values: list[bytes]) -> list[Report]:
        reports = _parse_reports(values)
        self._finished += [report.task for report in reports if report.is_end]
        return reports

    def missed(self, tasks: list[str]) -> list[Report]:
        """The ends of those `tasks` that have a result: their reports may have been lost."""
        if not tasks:
            return []
        values: list[Any] = self._redis.mget(map(self._result_key, tasks))
        ends = [
            end
            for task, value in zip(tasks, values, strict=True)
            if value is not None and (end := read_end(task, value)) is not None
        ]
        self._finished += [end.task for end in ends]
        return ends

    def _result_key(self, task: str) -> str:
        key: Any = self._app.backend.get_key_for_task(task)
        return str(key.decode())

    def wait(self, task: str, *, seconds: float) -> EmbedResult:
        """The result of a task. Raises Celery's TimeoutError, or the exception of the task."""
        value = AsyncResult(task, app=self._app).get(timeout=seconds, interval=0.1)
        return EmbedResult.model_validate(value)

    def mark(self) -> None:
        """Set a key in Redis. When it is missing later, Redis was emptied, and the queues and results with it.

        `take` renews it. The key of a killed process expires; a process that was paused for longer reads unfinished changes again.
        """
        self._redis.set(self._token, 1, ex=VISIBILITY_SECONDS)

    def living_workers(self) -> int:
        """The number of worker processes with a recent sign of life."""
        seconds, _ = self._redis.time()
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.zremrangebyscore(WORKERS_KEY, "-inf", seconds - WORKER_ALIVE_SECONDS)
            pipeline.zcard(WORKERS_KEY)
            return int(pipeline.execute()[1])

    def view(self, tasks: list[str]) -> QueueView:
        """Which worker holds each of `tasks`, which of these workers are alive, and how many messages wait in each lane.

        The queue lengths are read first: a message that leaves the queue afterwards still counts as waiting.
        """
        waiting = {lane: self._length(queue_name(lane)) for lane in LANES}
        values: list[Any] = self._redis.mget([held_key(task) for task in tasks]) if tasks else []
        holders = {task: value.decode() for task, value in zip(tasks, values, strict=True) if value is not None}
        workers = sorted(set(holders.values()))
        signs = self._redis.mget([worker_key(worker) for worker in workers]) if workers else []
        alive = {worker: sign for worker, sign in zip(workers, signs, strict=True) if sign is not None}
        held = {
            task: worker for task, worker in holders.items() if worker not in alive or _may_hold(alive[worker], task)
        }
        return QueueView(held, frozenset(alive), waiting)

    def _length(self, queue: str) -> int:
        if self._is_in_redis:
            return int(self._redis.llen(queue))
        with self._app.connection_or_acquire() as connection:
            try:
                with connection.channel() as channel:
                    return int(channel.queue_declare(queue, passive=True).message_count)
            except connection.channel_errors:  # the queue is missing: it was deleted, or no task was sent yet
                return 0
            except connection.connection_errors as error:
                raise OperationalError(str(error)) from error

    def close(self) -> None:
        with contextlib.suppress(RedisError):
            self._redis.delete(self._token)
        self._redis.close()
        self._app.close()


def _may_hold(sign: bytes | str, task: str) -> bool:
    """Whether a worker's sign of life names the task. That of an earlier version names none."""
    try:
        tasks = orjson.loads(sign)
    except ValueError:
        return True
    return not isinstance(tasks, list) or task in tasks


def _parse_reports(values: list[bytes]) -> list[Report]:
    reports = []
    for value in values:
        try:
            reports.append(Report.model_validate_json(value))
        except ValidationError as error:  # of a newer version, or not from a worker
            log.warning("unknown report ignored", faults=error.error_count())
    return reports


def read_end(task: str, value: bytes) -> Report | None:
    """The end of a task in Celery's JSON message; None while the task runs. A message or result that cannot be read counts as a
    failure: it would stop the feed of every index in each round."""
    try:
        message = orjson.loads(value)
        if message["status"] not in _FINAL_STATES:
            return None
        is_success = message["status"] == "SUCCESS"
        result = EmbedResult.model_validate(message["result"]) if is_success else None
    except (ValueError, TypeError, KeyError) as error:  # pydantic's and orjson's errors are ValueErrors
        log.error("unknown result of a task", task=task, cause=type(error).__name__)
        result = None
    return Report(task=task, is_end=True, result=result)
