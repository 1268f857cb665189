"""Starts the whole stack on one machine, stores its state in a file, and stops it.

    Elasticsearch (1..n nodes) + Valkey  <-  feed, worker (1..n), gateway

The state file in the data dir names every process, so that a second `up` starts only the dead ones.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, Elasticsearch
from filelock import FileLock
from pydantic import BaseModel, SecretStr
from redis import Redis
from redis.exceptions import RedisError

from esblend.cache import cache_dir, is_root
from esblend.elasticsearch_connection import connect
from esblend.errors import LocalStackError
from esblend.local.distribution import DEFAULT_VERSION, find_distribution
from esblend.local.elasticsearch import Credentials, Node, new_credentials, start_node
from esblend.local.gpus import worker_device
from esblend.local.paths import elasticsearch_dir
from esblend.local.ports import FreePorts
from esblend.local.processes import Launched, family, find, launch, stop
from esblend.local.valkey import start_valkey
from esblend.settings import Settings, mask_passwords

START_SECONDS = 240
NAMES = ("elasticsearch", "redis", "feed", "worker", "gateway")
Say = Callable[[str], None]


class StackState(BaseModel):
    """The parts of a stack; stored as `stack.json` in its data dir, readable by its owner only."""

    elasticsearch: str
    redis: str
    gateway: str
    model: str
    es_version: str
    own_elasticsearch: bool
    own_redis: bool
    nodes: list[Node] = []
    workers: int = 1
    username: str | None = None
    password: str | None = None
    processes: dict[str, list[Launched | None]] = {}

    def describe(self) -> dict[str, Any]:
        """The object that `esblend up --json` and `esblend ps --json` print."""
        described: dict[str, Any] = {
            "elasticsearch": self.elasticsearch, "redis": mask_passwords(self.redis), "gateway": self.gateway, "model": self.model,
        }  # fmt: skip
        if self.username:
            described |= {"username": self.username, "password": self.password}
        alive = {
            name: [pid for launched in self.processes.get(name, []) if launched for pid in family(launched)]
            for name in NAMES
        }
        return described | {"pids": {name: pids for name, pids in alive.items() if name in self.processes}}

    def is_running(self) -> bool:
        return any(launched and find(launched) for group in self.processes.values() for launched in group)

    def settings(self, base: Settings) -> Settings:
        """The settings of a process that belongs to this stack."""
        changes: dict[str, Any] = {
            "es_url": self.elasticsearch, "redis_url": self.redis, "model": self.model,
            "gateway_port": int(self.gateway.rsplit(":", 1)[1]), "ready_file": None,
        }  # fmt: skip
        if self.username and self.password:
            changes |= {"es_username": self.username, "es_password": SecretStr(self.password), "es_api_key": None}
        return base.model_copy(update=changes)


class StackOptions(BaseModel):
    """The options of `esblend up`; None: as in the existing stack, else the default."""

    es: str | None = None
    redis: str | None = None
    model: str | None = None
    security: bool = False
    nodes: int | None = None
    es_version: str | None = None
    workers: int | None = None


def load_state(data_dir: Path) -> StackState | None:
    """The stack of `data_dir`, running or not; None if there was none."""
    file = data_dir / "stack.json"
    return StackState.model_validate_json(file.read_bytes()) if file.is_file() else None


def _save(state: StackState, data_dir: Path) -> None:
    file = data_dir / "stack.json"
    partial = file.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(state.model_dump_json(indent=2), "utf-8")
    partial.replace(file)


def up(data_dir: Path, options: StackOptions, settings: Settings, say: Say, warn: Say | None = None) -> StackState:
    """Start missing processes and return when all are ready. `say` gets the progress, `warn` (by default `say`) what a person must
    know afterwards. On a failure, ends the processes that it started, and raises LocalStackError."""
    for folder in (data_dir, cache_dir()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LocalStackError(f"the folder {folder} cannot be created: {error.strerror}") from error
    with FileLock(data_dir / "stack.lock"), FreePorts(lock_folder=cache_dir()) as ports:
        state = load_state(data_dir)
        if state is None and is_root():
            # Files of an earlier stack whose data dir was removed: for root, Elasticsearch's files are elsewhere.
            shutil.rmtree(elasticsearch_dir(data_dir), ignore_errors=True)
        if state is None or not state.is_running():
            state = _plan(options, settings, state, ports, warn or say)
            ports.let_servers_listen()
        else:
            _refuse_changes(state, options)
        started: list[Launched] = []
        try:
            _start_servers(state, data_dir, started, say)
            _save(state, data_dir)
            _start_processes(state, data_dir, started, settings)
            _save(state, data_dir)
            _wait_until_ready(state, data_dir, settings, say)
        except BaseException:
            stop(started, grace_seconds=5)
            if load_state(data_dir) is not None:
                _save(state, data_dir)
            raise
        return state


def down(data_dir: Path, *, delete: bool = False) -> bool:
    """End all processes of the stack, in the order of the data flow; with `delete`, also remove its data. False if none ran."""
    if not data_dir.is_dir():
        return False
    with FileLock(data_dir / "stack.lock"):
        state = load_state(data_dir)
        if state is None:
            return False
        ran = state.is_running()
        stop(_of(state, "feed", "gateway", "worker"), grace_seconds=20)
        stop(_of(state, "redis", "elasticsearch"), grace_seconds=40)
        if delete:
            shutil.rmtree(elasticsearch_dir(data_dir), ignore_errors=True)
            for name in ("valkey", "logs", "ready"):
                shutil.rmtree(data_dir / name, ignore_errors=True)
            (data_dir / "stack.json").unlink()
        return ran


def _of(state: StackState, *names: str) -> list[Launched]:
    return [launched for name in names for launched in state.processes.get(name, []) if launched]


def _plan(
    options: StackOptions, settings: Settings, before: StackState | None, ports: FreePorts, warn: Say
) -> StackState:
    """A new stack, or a restart with existing data."""
    existing = before if before and before.own_elasticsearch and not options.es else None
    version = find_distribution(options.es_version or (existing.es_version if existing else DEFAULT_VERSION)).version
    if existing and version != existing.es_version:
        raise LocalStackError(
            f"this data dir has data of Elasticsearch {existing.es_version}; for {version} pass another --data-dir"
        )
    if existing and options.security and existing.username is None:
        raise LocalStackError("this data dir belongs to a stack with security off; pass another --data-dir")
    count = options.nodes or (len(existing.nodes) if existing else 1)
    if existing and count != len(existing.nodes):
        raise LocalStackError(
            f"this data dir belongs to a stack of {len(existing.nodes)} nodes; pass another --data-dir"
        )
    nodes = [] if options.es else _plan_nodes(count, existing, ports, warn)
    credentials = None
    if existing and existing.username and existing.password:
        credentials = Credentials(existing.username, existing.password)
    elif options.security and not options.es:
        credentials = new_credentials()
    redis_port = None if options.redis else _choose("Redis", _redis_port(before), ports, warn)
    gateway_port = _choose("the gateway", _gateway_port(before, settings), ports, warn)
    return StackState(
        elasticsearch=options.es or f"http://127.0.0.1:{nodes[0].http_port}",
        redis=options.redis or f"redis://127.0.0.1:{redis_port}/0",
        gateway=f"http://127.0.0.1:{gateway_port}",
        model=options.model or (before.model if before else settings.model),
        es_version=version,
        own_elasticsearch=options.es is None,
        own_redis=options.redis is None,
        nodes=nodes,
        workers=options.workers or (before.workers if before else 1),
        username=credentials.username if credentials else None,
        password=credentials.password if credentials else None,
    )


def _redis_port(before: StackState | None) -> int:
    """The previous port, so that clients find a restarted stack."""
    return int(before.redis.rsplit(":", 1)[1].split("/")[0]) if before and before.own_redis else 6379


def _gateway_port(before: StackState | None, settings: Settings) -> int:
    """The configured port, else the previous one."""
    if before is None or "gateway_port" in settings.model_fields_set:
        return settings.gateway_port
    return int(before.gateway.rsplit(":", 1)[1])


def _choose(program: str, preferred: int, ports: FreePorts, warn: Say) -> int:
    """The preferred port if it is free, else another one, with a warning: clients look for the preferred one."""
    port = ports.choose(preferred)
    if port != preferred:
        warn(f"Port {preferred} is in use, so {program} has port {port}.")
    return port


def _plan_nodes(count: int, existing: StackState | None, ports: FreePorts, warn: Say) -> list[Node]:
    """Ports for each node: the previous ones if they are free, because nodes remember each other by port."""
    nodes: list[Node] = []
    for number in range(count):
        # The second node never gets the port of the first one.
        previous = existing.nodes[number] if existing else None
        preferred = previous.http_port if previous else 9200
        http = _choose("Elasticsearch", preferred, ports, warn) if previous or number == 0 else ports.choose(preferred)
        nodes.append(Node(f"node-{number}", http, ports.choose(previous.transport_port if previous else 9300)))
    return nodes


def _refuse_changes(state: StackState, options: StackOptions) -> None:
    options_with_state = {
        "--es": (options.es, state.elasticsearch),
        "--redis": (options.redis, state.redis),
        "--model": (options.model, state.model),
        "--nodes": (options.nodes, len(state.nodes)),
        "--workers": (options.workers, state.workers),
        "--security": (options.security or None, state.username is not None),
    }
    for option, (requested, present) in options_with_state.items():
        if requested is not None and requested != present:
            raise LocalStackError(
                f"the stack already runs with {option} {present}; run `esblend down` first, or pass another --data-dir"
            )


def _start_servers(state: StackState, data_dir: Path, started: list[Launched], say: Say) -> None:
    waits: list[Callable[[], None]] = []
    if state.own_redis and not _alive(state, "redis", 1)[0]:
        server = start_valkey(_redis_port(state), data_dir / "valkey")
        state.processes["redis"] = [server]
        started.append(server)
        waits.append(
            lambda: _wait("Valkey", lambda: _redis_answers(state.redis), server, data_dir / "valkey/valkey.log")
        )
    if state.own_elasticsearch:
        directory = elasticsearch_dir(data_dir)
        running = _alive(state, "elasticsearch", len(state.nodes))
        credentials = Credentials(state.username, state.password) if state.username and state.password else None
        for number, node in enumerate(state.nodes):
            if running[number]:
                continue
            say(f"Starting Elasticsearch {state.es_version} ({node.name}) on port {node.http_port}")
            heap = 1024 if len(state.nodes) == 1 else 512
            process = start_node(
                node, state.nodes, version=state.es_version, directory=directory, credentials=credentials, heap_mb=heap
            )
            running[number] = process
            started.append(process)
            log = directory / node.name / "logs" / "stdout.log"
            waits.append(lambda p=process, n=node, f=log: _wait("Elasticsearch", lambda: _listens(n.http_port), p, f))  # type: ignore[misc]
        state.processes["elasticsearch"] = running
    for wait in waits:
        wait()


def _start_processes(state: StackState, data_dir: Path, started: list[Launched], settings: Settings) -> None:
    counts = {"feed": 1, "worker": state.workers, "gateway": 1}
    for name, count in counts.items():
        running = _alive(state, name, count)
        for number in range(count):
            if running[number]:
                continue
            ready = _ready_file(data_dir, name, number)
            ready.parent.mkdir(parents=True, exist_ok=True)
            ready.unlink(missing_ok=True)
            process = launch(
                [sys.executable, "-m", "esblend", name],
                log=data_dir / "logs" / f"{name}-{number}.log",
                env=_environment(_with_own_metrics_port(state.settings(settings), name, number), ready)
                | (worker_device(number, os.environ) if name == "worker" else {}),
                cwd=data_dir,
            )
            running[number] = process
            started.append(process)
        state.processes[name] = running


def _with_own_metrics_port(settings: Settings, name: str, number: int) -> Settings:
    """On one machine the feed uses the configured port, and the workers the next ones."""
    if settings.metrics_port is None or name == "gateway":
        return settings
    return settings.model_copy(update={"metrics_port": settings.metrics_port + (0 if name == "feed" else 1 + number)})


def _alive(state: StackState, name: str, count: int) -> list[Launched | None]:
    """The processes of that name; None for one that died."""
    launched_before = [*state.processes.get(name, []), *[None] * count][:count]
    return [launched if launched and find(launched) else None for launched in launched_before]


def _ready_file(data_dir: Path, name: str, number: int) -> Path:
    return data_dir / "ready" / f"{name}-{number}"


def _environment(settings: Settings, ready: Path) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ESBLEND_")}
    for key, value in settings.model_dump().items():
        if value is not None:
            env[f"ESBLEND_{key.upper()}"] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return env | {"ESBLEND_READY_FILE": str(ready), "PYTHONUNBUFFERED": "1"}


def _wait_until_ready(state: StackState, data_dir: Path, settings: Settings, say: Say) -> None:
    if state.own_elasticsearch:
        say("Waiting for Elasticsearch")
        directory = elasticsearch_dir(data_dir)
        with connect(state.settings(settings)) as es:
            first = state.processes["elasticsearch"][0]
            log = directory / state.nodes[0].name / "logs" / "stdout.log"
            _wait("Elasticsearch", lambda: _is_healthy(es, len(state.nodes)), first, log)
    for name in ("gateway", "worker", "feed"):
        say(f"Waiting for the {name}")
        for number, process in enumerate(state.processes[name]):
            log = data_dir / "logs" / f"{name}-{number}.log"
            _wait(f"the {name}", _ready_file(data_dir, name, number).exists, process, log)


def _wait(name: str, is_ready: Callable[[], bool], process: Launched | None, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if process is None or find(process) is None:
            raise LocalStackError(f"{name} ended while starting; the end of {log}:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise LocalStackError(f"{name} was not ready after {START_SECONDS} s; the end of {log}:\n{_tail(log)}")
        time.sleep(0.1)


def _tail(log: Path, lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def _redis_answers(url: str) -> bool:
    try:
        with Redis.from_url(url, socket_connect_timeout=2) as redis:
            return bool(redis.ping())
    except (RedisError, OSError):
        return False


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_healthy(es: Elasticsearch, nodes: int) -> bool:
    try:
        health = es.options(request_timeout=10, max_retries=0).cluster.health(
            wait_for_status="yellow", wait_for_nodes=f">={nodes}", timeout="5s"
        )
    except (ApiError, TransportError):
        return False
    return not health["timed_out"]
