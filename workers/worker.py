"""The worker process: a Celery worker whose one child loads the model after the fork, once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from celery import Celery, Task
from celery.signals import worker_process_init
from elasticsearch import Elasticsearch
from pydantic import ValidationError
from redis import Redis
from redis.exceptions import RedisError

from esblend.broker import EMBED_TASK, LANES, RUNNING_SECONDS, EmbedTask, make_celery, queue_name, running_key
from esblend.elastic import connect, wait_for_elasticsearch
from esblend.errors import ModelError
from esblend.logs import configure_logging
from esblend.ready import announce_ready, forget_ready
from esblend.settings import Settings

log = structlog.get_logger()


class _Child:
    """What the process that runs the tasks holds."""

    def __init__(self, settings: Settings) -> None:
        # torch is imported here, in the child: it must not be set up before a fork.
        from esblend.encoder.registry import Encoders

        self.es: Elasticsearch = connect(settings)
        self.redis = Redis.from_url(settings.redis_url, socket_timeout=5)
        self.encoders = Encoders(settings, "documents")


def make_worker(settings: Settings) -> Celery:
    """The Celery application with its one task."""
    app = make_celery(settings)
    child: list[_Child] = []

    def set_up(**_: Any) -> None:
        configure_logging(settings)
        child.append(_Child(settings))
        try:
            child[0].encoders.load(settings.model)
        except ModelError as error:
            log.warning("the default model cannot be loaded; models of attached indices still can", reason=error.reason)
        announce_ready(settings)

    worker_process_init.connect(set_up, weak=False)

    def embed_task(self: Task, **message: Any) -> dict[str, Any]:
        from workers.embed import embed

        try:
            task = EmbedTask.model_validate(message)
        except ValidationError as error:
            log.error(
                "a message that is no task was dropped", keys=sorted(map(str, message))[:10], faults=error.error_count()
            )
            return {}
        with _sign_of_life(child[0].redis, running_key(self.request.id)):
            result = embed(task, child[0].es, child[0].encoders)
        log.info(
            "embedded", index=task.index, written=len(result.written), unchanged=result.unchanged, gone=result.gone,
            conflicts=result.conflicts, dead_letters=result.dead_letters,
        )  # fmt: skip
        return result.model_dump()

    app.task(embed_task, name=EMBED_TASK, bind=True)
    return app


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


def run_worker(settings: Settings) -> None:
    """Run until told to stop; then the present batch is finished."""
    configure_logging(settings)
    forget_ready(settings)
    with connect(settings) as es:
        wait_for_elasticsearch(es, settings.es_url)
    queues = ",".join(queue_name(lane) for lane in LANES)
    make_worker(settings).worker_main(
        ["worker", "--queues", queues, "--concurrency", "1", "--pool", "prefork", "--loglevel", settings.log_level,
         "--without-gossip", "--without-mingle", "--hostname", "esblend@%h"]
    )  # fmt: skip
