"""The worker process: a Celery worker with one child, which loads the model once, after the fork."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from celery import Celery, Task
from celery.signals import task_postrun, worker_process_init, worker_process_shutdown, worker_ready
from pydantic import ValidationError
from redis.exceptions import RedisError
from structlog.contextvars import bound_contextvars

from esblend import tracing
from esblend.broker import (
    ATTACH_TASK,
    EMBED_TASK,
    LANES,
    RANGE_FORMAT,
    AttachTask,
    EmbedResult,
    EmbedTask,
    Lane,
    RangeTask,
    make_celery,
    queue_name,
)
from esblend.elasticsearch_connection import back_off, connect, wait_for_elasticsearch
from esblend.errors import EsblendError, ModelError, QueueUnsafe, UnknownMessage
from esblend.logs import configure_logging, without_preview
from esblend.metrics import DOCUMENTS, serve
from esblend.ready_file import announce_ready, forget_dead, forget_ready
from esblend.redis_connection import connect_redis
from esblend.settings import Settings
from workers.acknowledgements import return_credit_of_failed_acknowledgements
from workers.held_tasks import announce_held_tasks
from workers.liveness import WorkerLiveness
from workers.reports import reports_of
from workers.step_back import StepBack, is_workers_fault
from workers.tracing import traced_task

if TYPE_CHECKING:
    from workers.embed import WorkerContext

log = structlog.get_logger()
CHILD_START_SECONDS = 600
"""Celery kills a child that is not up by then. Its default of 4 s is too short to load a model or to export one."""
_DEAD_CHILD_CHECK_SECONDS = 1.0


class _Child:
    """The child process of the worker: its connections and encoders, and the tasks that use them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.step_back = StepBack(settings)
        self._liveness = WorkerLiveness(self.step_back, settings.feed_task_timeout_seconds)
        self._context: WorkerContext | None = None

    @property
    def context(self) -> "WorkerContext":
        if self._context is None:
            raise RuntimeError("set_up() has not been called")
        return self._context

    def set_up(self, **_: Any) -> None:
        """Connect and load the default model. torch is imported here: it must not be imported before a fork."""
        from esblend.encoder.registry import Encoders
        from esblend.encoder.vector_cache import cache_for
        from workers.embed import WorkerContext

        settings = self._settings
        configure_logging(settings)
        self._context = WorkerContext(
            connect(settings),
            connect_redis(settings, timeout=5),
            Encoders(settings, "documents"),
            lambda encoder, form: cache_for(encoder, form, settings),
            is_queue_in_redis=settings.broker_url is None,
        )
        serve(settings, self._liveness.is_alive)
        tracing.set_up(settings, "worker")
        try:
            self._context.encoders.load(settings.model)
        except ModelError as error:
            log.warning(
                "default model not loaded; models of attached indices are loaded as needed", reason=error.reason
            )
        announce_ready(settings)

    def embed(
        self, delivery: str, headers: dict[str, Any], message: dict[str, Any], lane: Lane | None
    ) -> dict[str, Any]:
        from workers.embed import embed

        is_range = message.get("format") == RANGE_FORMAT
        task = _read_message(RangeTask, message) if is_range else _read_message(EmbedTask, message)
        context = self.context.on_behalf_of(delivery)
        with bound_contextvars(task=delivery), traced_task(task, headers):
            with _logged_failure(task.index, self.step_back):
                reports = reports_of(context.redis, delivery, headers)
                result = embed(task, context, lambda written: reports.written(written.values()), lane)
            _report(task, result)
        return result.model_dump()

    def report_end(self, task: Any = None, task_id: str = "", retval: Any = None, state: str = "", **_: Any) -> None:
        """Report the end of a task to its feed, after Celery has stored the result: the feed deletes it."""
        if task is None or task.name != EMBED_TASK:
            return
        reports = reports_of(self.context.redis, task_id, task.request.headers or {})
        reports.ended(EmbedResult.model_validate(retval) if state == "SUCCESS" else None)

    def attach(self, message: dict[str, Any]) -> None:
        from workers.requested_attachments import attach_requested_index

        task = _read_message(AttachTask, message)
        with _logged_failure(task.index, self.step_back):
            attach_requested_index(task.index, self.context.encoders, self._settings)


def make_worker(settings: Settings) -> Celery:
    """The Celery application with its tasks."""
    app = make_celery(settings)
    app.conf.worker_proc_alive_timeout = CHILD_START_SECONDS
    child = _Child(settings)

    def watch_child(sender: Any, **_: Any) -> None:
        """In the parent: remove the ready file when the child that wrote it is gone."""
        sender.timer.call_repeatedly(_DEAD_CHILD_CHECK_SECONDS, forget_dead, (settings,))

    def embed_task(self: Task, **message: Any) -> dict[str, Any]:
        return child.embed(str(self.request.id), self.request.headers or {}, message, _lane(self.request.delivery_info))

    def attach_task(self: Task, **message: Any) -> None:
        child.attach(message)

    announce_held_tasks(settings)
    return_credit_of_failed_acknowledgements()
    worker_process_init.connect(child.set_up, weak=False)
    worker_ready.connect(watch_child, weak=False)
    task_postrun.connect(child.report_end, weak=False)
    task_postrun.connect(lambda **_: child.step_back.wait(), weak=False)
    worker_process_shutdown.connect(lambda **_: tracing.flush(), weak=False)
    app.task(embed_task, name=EMBED_TASK, bind=True)
    app.task(attach_task, name=ATTACH_TASK, bind=True, ignore_result=True)
    return app


def _lane(delivery: Mapping[str, Any] | None) -> Lane | None:
    """The lane of the queue from which a message came."""
    return next((lane for lane in LANES if queue_name(lane) == (delivery or {}).get("routing_key")), None)


@contextmanager
def _logged_failure(index: str, step_back: StepBack) -> Iterator[None]:
    """Log a failed task. Celery's own log message is off: it would quote the message and the exception."""
    try:
        yield
    except Exception as error:
        if isinstance(error, EsblendError):
            log.warning("task failed, the feed sends it again", index=index, reason=without_preview(error.reason))
        else:
            log.error("task failed, the feed sends it again", index=index, exc_info=error)
        if is_workers_fault(error):
            step_back.count_failure()
        raise
    step_back.count_success()


def _report(task: EmbedTask | RangeTask, result: EmbedResult) -> None:
    for outcome in ("written", "unchanged", "gone", "conflicts", "dead_letters"):
        DOCUMENTS.labels(outcome).inc(getattr(result, outcome))
    log.info(
        "embedded", index=task.index, written=result.written, unchanged=result.unchanged, gone=result.gone,
        conflicts=result.conflicts, dead_letters=result.dead_letters,
    )  # fmt: skip


M = TypeVar("M", EmbedTask, RangeTask, AttachTask)


def _read_message(kind: type[M], message: dict[str, Any]) -> M:
    """Raises UnknownMessage. A hostile message has no effect; a newer feed sends its task again."""
    try:
        return kind.model_validate(message)
    except ValidationError as error:
        keys = ", ".join(sorted(map(str, message))[:10])[:200]
        log.error("unknown message", keys=keys, faults=error.error_count())
        raise UnknownMessage(f"not a task of this version: {error.error_count()} faults in [{keys}]") from None


def refuse_evicting_redis(settings: Settings) -> None:
    """Raises QueueUnsafe when Redis may evict queued tasks. Waits while Redis is unavailable."""
    attempt = 0
    while True:
        try:
            with connect_redis(settings, timeout=5) as redis:
                policy = str(redis.info("memory").get("maxmemory_policy", "noeviction"))
            break
        except RedisError as error:
            log.warning("waiting for Redis", retry_in_seconds=back_off(attempt), cause=type(error).__name__)
            time.sleep(back_off(attempt))
            attempt += 1
    if policy.startswith("allkeys"):
        raise QueueUnsafe(
            f"Redis has maxmemory-policy [{policy}], which may evict queued tasks: "
            "set it to [noeviction] (CONFIG SET maxmemory-policy noeviction), or give esblend a separate Redis"
        )


def run_worker(settings: Settings) -> None:
    """Run until a signal stops it; the current task is finished first."""
    configure_logging(settings)
    forget_ready(settings)
    with connect(settings) as es:
        wait_for_elasticsearch(es, settings.es_url)
    refuse_evicting_redis(settings)
    queues = ",".join(queue_name(lane) for lane in LANES)
    make_worker(settings).worker_main(
        ["--quiet", "worker", "--queues", queues, "--concurrency", "1", "--pool", "prefork", "--loglevel", settings.log_level,
         "--without-gossip", "--without-mingle", "--hostname", "esblend@%h"]
    )  # fmt: skip
