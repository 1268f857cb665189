"""Announces in Redis which tasks this worker process holds and that it lives, so that the feed notices a lost worker in seconds.

Runs in the parent process, which receives the messages; it also covers tasks that wait while a child loads its model.
"""

import threading
import uuid
from contextlib import suppress
from typing import Any

import orjson
from celery.signals import task_received, worker_ready
from celery.worker import state
from redis.exceptions import RedisError

from esblend.broker import VISIBILITY_SECONDS, WORKER_ALIVE_SECONDS, WORKERS_KEY, held_key, worker_key
from esblend.redis_connection import connect_redis
from esblend.settings import Settings


def announce_held_tasks(settings: Settings) -> None:
    """Connect to the signals of the worker of this process. Nothing is sent before the worker starts."""
    worker = uuid.uuid4().hex
    redis = connect_redis(settings, timeout=2)

    def beat(*received: str) -> None:
        # The set may change while it is read; the next beat repeats it.
        with suppress(RedisError, RuntimeError):
            seconds, _ = redis.time()
            tasks = [*received, *(request.id for request in tuple(state.reserved_requests))]
            redis.set(worker_key(worker), orjson.dumps(tasks), ex=WORKER_ALIVE_SECONDS)
            redis.zadd(WORKERS_KEY, {worker: seconds})

    def beat_forever() -> None:
        while True:
            threading.Event().wait(WORKER_ALIVE_SECONDS / 3)
            beat()

    def start(**_: Any) -> None:
        beat()
        threading.Thread(target=beat_forever, daemon=True).start()

    def receive(request: Any, **_: Any) -> None:
        with suppress(RedisError):
            redis.set(held_key(request.id), worker, ex=VISIBILITY_SECONDS)
        beat(request.id)

    worker_ready.connect(start, weak=False)
    task_received.connect(receive, weak=False)
