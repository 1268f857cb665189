"""The worker process: a Celery worker whose one child loads the model after the fork, once."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import structlog
from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown
from pydantic import ValidationError
from redis import Redis
from redis.exceptions import RedisError
from structlog.contextvars import bound_contextvars

from esblend import tracing
from esblend.broker import (
    ATTACH_TASK,
    EMBED_TASK,
    LANES,
    RUNNING_SECONDS,
    VISIBILITY_SECONDS,
    AttachTask,
    EmbedResult,
    EmbedTask,
    make_celery,
    queue_name,
    running_key,
    written_key,
)
from esblend.elasticsearch_connection import back_off, connect, wait_for_elasticsearch
from esblend.errors import EsblendError, ModelError, QueueUnsafe, UnknownMessage
from esblend.logs import configure_logging, without_preview
from esblend.metrics import DOCUMENTS, serve
from esblend.ready import announce_ready, forget_ready
from esblend.redis_connection import connect_redis
from esblend.settings import Settings
from workers.tracing import traced_task

if TYPE_CHECKING:
    from workers.embed import WorkerContext

log = structlog.get_logger()


def _make_workshop(settings: Settings) -> "WorkerContext":
    """What the process that runs the tasks holds. torch is imported here, in the child: it must not be before a fork."""
    from esblend.encoder.registry import Encoders
    from esblend.encoder.vector_cache import cache_for
    from workers.embed import WorkerContext

    return WorkerContext(
        connect(settings),
        connect_redis(settings, timeout=5),
        Encoders(settings, "documents"),
        lambda encoder, form: cache_for(encoder, form, settings),
    )


def make_worker(settings: Settings) -> Celery:
    """The Celery application with its one task."""
    app = make_celery(settings)
    child: list[WorkerContext] = []

    def set_up(**_: Any) -> None:
        configure_logging(settings)
        child.append(_make_workshop(settings))
        serve(settings)
        tracing.set_up(settings, "worker")
        try:
            child[0].encoders.load(settings.model)
        except ModelError as error:
            log.warning("the default model cannot be loaded; models of attached indices still can", reason=error.reason)
        announce_ready(settings)

    worker_process_init.connect(set_up, weak=False)
    worker_process_shutdown.connect(lambda **_: tracing.flush(), weak=False)

    def embed_task(self: Task, **message: Any) -> dict[str, Any]:
        from workers.embed import embed

        task = _read_message(EmbedTask, message)
        delivery = str(self.request.id)  # another thread would see another request
        workshop = child[0].on_behalf_of(delivery)
        with bound_contextvars(task=delivery), traced_task(task, self.request.headers or {}):
            with _telling_failure(task.index), _sign_of_life(workshop.redis, running_key(delivery)):
                result = embed(task, workshop, lambda written: _tell(workshop.redis, delivery, written))
            _report(task, result)
        return result.model_dump()

    def attach_task(self: Task, **message: Any) -> None:
        from workers.requested_attachments import attach_requested_index

        task = _read_message(AttachTask, message)
        with _telling_failure(task.index):
            attach_requested_index(task.index, child[0].encoders, settings)

    app.task(embed_task, name=EMBED_TASK, bind=True)
    app.task(attach_task, name=ATTACH_TASK, bind=True, ignore_result=True)
    return app


@contextmanager
def _telling_failure(index: str) -> Iterator[None]:
    """Celery's own word of it is off, for it would quote the message and what was raised."""
    try:
        yield
    except EsblendError as error:
        log.warning("a task failed; the feed asks again", index=index, reason=without_preview(error.reason))
        raise
    except Exception as error:
        log.error("a task failed; the feed asks again", index=index, exc_info=error)
        raise


def _report(task: EmbedTask, result: EmbedResult) -> None:
    for outcome in ("written", "unchanged", "gone", "conflicts", "dead_letters"):
        DOCUMENTS.labels(outcome).inc(getattr(result, outcome))
    log.info(
        "embedded", index=task.index, written=result.written, unchanged=result.unchanged, gone=result.gone,
        conflicts=result.conflicts, dead_letters=result.dead_letters,
    )  # fmt: skip


M = TypeVar("M", EmbedTask, AttachTask)


def _read_message(kind: type[M], message: dict[str, Any]) -> M:
    """Raises UnknownMessage: of a hostile one nothing comes; what a newer feed sent, that feed sends again."""
    try:
        return kind.model_validate(message)
    except ValidationError as error:
        keys = ", ".join(sorted(map(str, message))[:10])[:200]
        log.error("a message that is no task of this version", keys=keys, faults=error.error_count())
        raise UnknownMessage(f"no task of this version: {error.error_count()} faults in [{keys}]") from None


def _tell(redis: Redis, task: str, written: dict[str, int]) -> None:
    with suppress(RedisError), redis.pipeline(transaction=True) as pipeline:
        pipeline.rpush(written_key(task), orjson.dumps(written))
        pipeline.expire(written_key(task), VISIBILITY_SECONDS)
        pipeline.execute()


@contextmanager
def _sign_of_life(redis: Redis, key: str) -> Iterator[None]:
    """Keep a short-lived key in Redis while a task is worked on, so that the feed notices when its worker was killed."""
    done = threading.Event()

    def renew() -> None:
        while True:
            with suppress(RedisError):
                redis.set(key, 1, ex=RUNNING_SECONDS)
            if done.wait(RUNNING_SECONDS / 3):
                return

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def refuse_evicting_redis(settings: Settings) -> None:
    """Raises QueueUnsafe when this Redis may throw queued tasks away to make room. Waits while it is not there."""
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
            "set it to [noeviction] (CONFIG SET maxmemory-policy noeviction), or give esblend a Redis of its own"
        )


def run_worker(settings: Settings) -> None:
    """Run until told to stop; then the present batch is finished."""
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
