"""A separate stack for a benchmark, and additional processes."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from elasticsearch import Elasticsearch

from esblend.settings import Settings

_JSON = {"accept": "application/json", "content-type": "application/json"}


@dataclass(frozen=True)
class BenchStack:
    """A running stack: its addresses, process ids, and a client connected to Elasticsearch directly."""

    place: Path
    described: dict[str, Any]
    es: Elasticsearch
    gateway: Elasticsearch

    def settings(self, **changes: Any) -> Settings:
        return Settings(
            es_url=self.described["elasticsearch"], redis_url=self.described["redis"], model="minilm", **changes
        )

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> dict[str, Any]:
        client = self.gateway.options(request_timeout=3600)
        return dict(client.perform_request(method, path, params=params, headers=_JSON, body=body).body)

    def attach(self, index: str, *fields: str, **more: Any) -> None:
        self.call("PUT", f"/_esblend/indices/{index}", {"source_fields": list(fields), **more})

    def wait(self, index: str, seconds: int = 3600) -> float:
        """The time of full coverage (monotonic seconds)."""
        path = f"/_esblend/indices/{index}/status"
        self.call("GET", path, wait_for_coverage="1.0", timeout=f"{seconds}s")
        return time.monotonic()

    def processes(self, name: str) -> list[psutil.Process]:
        return [psutil.Process(pid) for pid in self.described["pids"][name]]

    def stop(self, name: str) -> None:
        """Stop processes of the stack in order to replace them."""
        found = self.processes(name)
        for one in found:
            one.terminate()
        psutil.wait_procs(found, timeout=30)

    @contextmanager
    def process(self, *module: str, **environment: str) -> Iterator[psutil.Process]:
        """A ready process that uses the stack's servers."""
        ready = self.place / f"ready-{time.monotonic_ns()}"
        env = {
            **os.environ, "ESBLEND_ES_URL": self.described["elasticsearch"], "ESBLEND_REDIS_URL": self.described["redis"],
            "ESBLEND_MODEL": "minilm", "ESBLEND_READY_FILE": str(ready), "PYTHONPATH": str(Path.cwd()), **environment,
        }  # fmt: skip
        with (self.place / "beside.log").open("ab") as log:
            started = subprocess.Popen([sys.executable, "-m", *module], env=env, stderr=log, stdout=log, cwd=self.place)
        try:
            while not ready.exists():
                if started.poll() is not None:
                    sys.exit((self.place / "beside.log").read_text()[-2000:])
                time.sleep(0.05)
            yield psutil.Process(started.pid)
        finally:
            started.terminate()
            started.wait(timeout=60)


@contextmanager
def bench_stack(*options: str, is_caching: bool = False) -> Iterator[BenchStack]:
    """A stack in a temporary folder, stopped at the end. `is_caching`: it uses the machine's embedding cache."""
    with tempfile.TemporaryDirectory() as folder:
        esblend = [sys.executable, "-m", "esblend"]
        env = {key: value for key, value in os.environ.items() if key != "ESBLEND_DATA_DIR"}
        if not is_caching:
            env["ESBLEND_EMBEDDING_CACHE_MB"] = "0"  # cached texts of one part must not speed up the next
        common = ["--data-dir", folder]
        up = [*esblend, "up", "--json", "--model", "minilm", *options, *common]
        try:
            done = subprocess.run(up, env=env, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.exit(done.stderr)
            described = json.loads(done.stdout)
            with (
                Elasticsearch(described["elasticsearch"], request_timeout=120) as es,
                Elasticsearch(described["gateway"], request_timeout=120) as gateway,
            ):
                yield BenchStack(Path(folder), described, es, gateway)
        finally:
            subprocess.run([*esblend, "down", "--delete", *common], env=env, capture_output=True, check=False)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def memory_megabytes(process: psutil.Process) -> float:
    """Resident memory of a process and its children."""
    family = [process, *process.children(recursive=True)]
    return sum(float(one.memory_info().rss) for one in family) / 2**20
