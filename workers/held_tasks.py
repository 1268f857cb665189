"""Announces in Redis which tasks this worker process holds and that it lives, so that the feed notices a lost worker in seconds.

Runs in the parent process, which receives the messages; it also covers tasks that wait while a child loads its model.
"""

import threading
import uuid
from contextlib import suppress
from typing import Any

from celery.signals import task_received, worker_ready
from redis.exceptions import RedisError

from esblend.broker import VISIBILITY_SECONDS, WORKER_ALIVE_SECONDS, WORKERS_KEY, held_key, worker_key
from esblend.redis_connection import connect_redis
from esblend.settings import Settings


def announce_held_tasks(settings: Settings) -> None:
    """Connect to the signals of the worker of this process. Nothing is sent before the worker starts."""
    worker = uuid.uuid4().hex
    redis = connect_redis(settings, timeout=2)

    def beat() -> None:
        with suppress(RedisError):
            seconds, _ = redis.time()
            redis.set(worker_key(worker), 1, ex=WORKER_ALIVE_SECONDS)
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

    worker_ready.connect(start, weak=False)
    task_received.connect(receive, weak=False)
