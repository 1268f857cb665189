"""An acknowledgement that Redis does not receive returns the worker's credit."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from esblend.broker import make_celery, queue_name
from esblend.local.ports import FreePorts
from esblend.local.valkey import start_valkey
from esblend.settings import Settings
from tests.real.test_brokers import _answers, _end
from workers.acknowledgements import return_credit_of_failed_acknowledgements


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a Redis server, and a function that ends it."""
    with FreePorts() as ports:
        port = ports.choose(0)
    started = start_valkey(port, tmp_path)
    while not _answers(port):
        threading.Event().wait(0.05)
    yield f"redis://127.0.0.1:{port}/0", lambda: _end(started.pid)
    _end(started.pid)


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_the_credit_is_returned_while_redis_is_away(redis_server: tuple[str, Callable[[], None]], end: str) -> None:
    """Without it, a worker with a prefetch count of 1 reads no further message, and never notices the lost connection."""
    url, end_redis = redis_server
    return_credit_of_failed_acknowledgements()
    received: list[Any] = []
    with closing(make_celery(Settings(redis_url=url))) as celery:
        celery.send_task("esblend.embed", queue=queue_name("live"))
        with celery.connection_for_read() as connection:
            channel = connection.channel()
            channel.basic_qos(0, 1, False)
            queues = [queue for queue in celery.conf.task_queues if queue.name == queue_name("live")]
            with celery.amqp.Consumer(channel, queues, on_message=received.append, accept=["json"]):
                while not received:
                    connection.drain_events(timeout=30)
                assert not channel.qos.can_consume()
                end_redis()
                with pytest.raises(connection.connection_errors):
                    received[0].ack() if end == "ack" else received[0].reject(requeue=end == "requeue")
                assert channel.qos.can_consume()
