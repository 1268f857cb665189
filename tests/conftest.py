"""One real stack for all tests that need servers, started at first use and taken down at the end."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from elasticsearch import Elasticsearch
from filelock import FileLock

from esblend.local.paths import elasticsearch_dir
from esblend.local.ports import FreePorts
from tests.in_memory import put_into_memory, remove_from_memory
from tests.in_process import in_process

ROOT = Path(__file__).parent.parent
ESBLEND = [sys.executable, "-m", "esblend"]
DEBUG_LOGS = {"ESBLEND_LOG_LEVEL": "debug", "ESBLEND_LOG_FORMAT": "json"}


# Threads that wait for work in a busy loop would slow down the servers and the other test processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# In a server that lives for minutes, the optimising compiler costs more time than it saves: a start takes 28 CPU seconds with it
# and 17 without. The concurrent collector of garbage costs a tenth of all CPU seconds. MetaspaceSize avoids full collections, up to
# half a second each, while the server loads its classes.
os.environ.setdefault("ES_JAVA_OPTS", "-XX:TieredStopAtLevel=1 -XX:-UseG1GC -XX:+UseSerialGC -XX:MetaspaceSize=256m")
# How long an example takes depends on what else the machine does; that is no property of the code.
_EVERY_RUN: dict[str, Any] = {"deadline": None, "suppress_health_check": list(hypothesis.HealthCheck)}
# The suite tries the same examples each time; `make fuzz` looks for new ones.
hypothesis.settings.register_profile("default", derandomize=True, **_EVERY_RUN)
hypothesis.settings.register_profile("fuzz", max_examples=3000, print_blob=True, **_EVERY_RUN)
hypothesis.settings.load_profile(os.environ.get("ESBLEND_HYPOTHESIS_PROFILE", "default"))


@dataclass(frozen=True)
class Stack:
    """A running stack: its addresses, its data dir, and clients."""

    described: dict[str, Any]
    data_dir: Path
    es: Elasticsearch
    """Straight to Elasticsearch."""
    gateway: Elasticsearch
    """The same client, through the gateway."""
    environment: dict[str, str]
    """Variables with which its processes were started, and are started again."""

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> dict[str, Any]:
        """One of the gateway's own endpoints."""
        headers = {"accept": "application/json", "content-type": "application/json"}
        answer = self.gateway.perform_request(method, path, params=params, headers=headers, body=body)
        return dict(answer.body)

    def attach(self, index: str, *fields: str, **options: Any) -> dict[str, Any]:
        return self.call("PUT", f"/_esblend/indices/{index}", {"source_fields": list(fields), **options})

    def wait(self, index: str, seconds: int = 240) -> dict[str, Any]:
        """The status once every document has its vectors."""
        client = self.gateway.options(request_timeout=seconds + 10)
        path = f"/_esblend/indices/{index}/status"
        params = {"wait_for_coverage": "1.0", "timeout": f"{seconds}s"}
        return dict(client.perform_request("GET", path, params=params, headers={"accept": "application/json"}).body)

    def esblend(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command against this stack, in this process."""
        return in_process(*arguments, "--data-dir", str(self.data_dir))

    def run_esblend(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command against this stack, in a separate process as a shell does."""
        return run_esblend(*arguments, "--data-dir", str(self.data_dir), **options)


def run_esblend(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ESBLEND_")}
    env |= {"COLUMNS": "160", **options.pop("env", {})}
    if "ESBLEND_CACHE_DIR" in os.environ:
        env["ESBLEND_CACHE_DIR"] = os.environ["ESBLEND_CACHE_DIR"]
    return subprocess.run(
        [*ESBLEND, *arguments], env=env, capture_output=True, text=True, timeout=900, check=False, **options
    )


def start_stack(data_dir: Path, *options: str, own_elasticsearch: bool = False, **env: str) -> Stack:
    if "ESBLEND_ES_URL" in os.environ and not own_elasticsearch and "--security" not in options:
        options = (*options, "--es", os.environ["ESBLEND_ES_URL"])
    put_into_memory(elasticsearch_dir(data_dir))
    started = run_esblend("up", "--json", "--model", "minilm", "--data-dir", str(data_dir), *options, env=env)
    assert started.returncode == 0, f"esblend up failed:\n{started.stderr}"
    described = json.loads(started.stdout)
    auth = (described["username"], described["password"]) if "username" in described else None
    return Stack(
        described,
        data_dir,
        Elasticsearch(described["elasticsearch"], basic_auth=auth, request_timeout=60),
        Elasticsearch(described["gateway"], basic_auth=auth, request_timeout=60),
        env,
    )


def stop_stack(stack: Stack) -> None:
    stack.es.close()
    stack.gateway.close()
    stopped = stack.esblend("down", "--delete")
    remove_from_memory(elasticsearch_dir(stack.data_dir))
    assert stopped.returncode == 0, stopped.stderr


_USUAL_PORTS = (9200, 9300, 6379, 9280)
_reserved_ports = FreePorts()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the stacks of all test processes from the usual ports. Each stack would prefer them, so that a stack whose servers a
    test has killed would find its ports in use by another one."""
    if not hasattr(config, "workerinput"):
        for port in _USUAL_PORTS:
            _reserved_ports.reserve(port)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.scheduling import ByServers

    return ByServers(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure on real servers shows the ends of their logs."""
    report = yield
    for value in item.funcargs.values() if report.failed else ():
        if isinstance(value, Stack):
            logs = value.run_esblend("logs", "--lines", "80").stdout.splitlines()
            report.sections.append((f"logs of {value.data_dir.name}", "\n".join(line[:400] for line in logs)))
    return report


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes of this run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def plugins(shared_folder: Path) -> Path:
    """A folder that the example plug-in package was installed to."""
    target = shared_folder / "plugins"
    with FileLock(target.with_suffix(".lock")):
        if not target.exists():
            # Built from a copy: a build leaves its traces beside the source.
            source = shutil.copytree(ROOT / "examples" / "esblend-example-plugin", shared_folder / "plugins-source")
            options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
            subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, timeout=120)
    return target


@pytest.fixture(scope="session")
def main_stack(tmp_path_factory: pytest.TempPathFactory, plugins: Path) -> Iterator[Stack]:
    """The one stack of a test process."""
    started = start_stack(tmp_path_factory.mktemp("stack"), PYTHONPATH=str(plugins))
    yield started
    stop_stack(started)


@pytest.fixture(scope="session")
def stack(main_stack: Stack) -> Stack:
    """A stack with the packaged MiniLM, the example plug-ins, and security off."""
    return main_stack


@pytest.fixture(scope="session")
def fault_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack for tests that kill its parts. Whoever kills one revives it, because the other tests use the same stack. An
    Elasticsearch that somebody else started is not killed."""
    if "ESBLEND_ES_URL" not in os.environ:
        yield request.getfixturevalue("main_stack")
        return
    started = start_stack(tmp_path_factory.mktemp("faults"), own_elasticsearch=True)
    yield started
    stop_stack(started)


@pytest.fixture
def index_name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_index(stack: Stack, index_name: str) -> Iterator[Callable[..., str]]:
    """Creates an index (title and body as text by default) with documents; deletes it afterwards."""

    def make(*documents: dict[str, Any], properties: dict[str, Any] | None = None, **settings: Any) -> str:
        mapping = {"properties": properties or {"title": {"type": "text"}, "body": {"type": "text"}}}
        stack.es.indices.create(
            index=index_name, mappings=mapping, settings={"number_of_shards": 2, "number_of_replicas": 0, **settings}
        )
        operations: list[dict[str, Any]] = []
        for number, document in enumerate(documents):
            operations += [{"index": {"_id": str(number)}}, document]
        if operations:
            assert not stack.es.bulk(index=index_name, operations=operations, refresh=True)["errors"]
        return index_name

    yield make
    stack.es.indices.delete(index=index_name, ignore_unavailable=True)
