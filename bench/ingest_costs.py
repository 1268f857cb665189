"""What an ingest costs: CPU seconds of each process, time of the worker's steps, bytes to and from Elasticsearch."""

import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.stack import BenchStack

_COMPILERS = ("C1 Compiler", "C2 Compiler")
_NAMES = ("elasticsearch", "redis", "feed", "gateway")
_STEP = re.compile(r'esblend_worker_seconds_total\{step="([a-z ]+)"\} (\S+)')


@dataclass
class Costs:
    """Differences between the begin and the end of the measured block."""

    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds by process."""
    compiling: float = 0.0
    """CPU seconds of Elasticsearch's compiler threads, as far as they live on; a part of its CPU seconds."""
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds of the worker by step."""
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of requests to Elasticsearch by route."""
    answered: dict[str, int] = field(default_factory=dict)
    """Bytes of its responses by route."""
    requests: dict[str, int] = field(default_factory=dict)
    refreshes: int = 0

    def rows(self, documents: int) -> list[dict[str, Any]]:
        """One table: where the CPU time goes, then where the worker's time goes, then the bytes."""
        total = sum(self.cpu.values())
        rows = [
            _row(f"CPU: {name}", seconds=cpu, share=cpu / total, ms=cpu * 1000 / documents)
            for name, cpu in self.cpu.items()
        ]
        rows.append(
            _row(
                "CPU: of it, elasticsearch compiling its own code",
                seconds=self.compiling,
                share=self.compiling / total,
                ms=self.compiling * 1000 / documents,
            )
        )
        rows.append(_row("CPU: together", seconds=total, share=1.0, ms=total * 1000 / documents))
        rows += [
            _row(f"worker: {step}", seconds=seconds, share=seconds / self.seconds, ms=seconds * 1000 / documents)
            for step, seconds in self.steps.items()
        ]
        rows.append(
            _row("from attached to covered", seconds=self.seconds, share=1.0, ms=self.seconds * 1000 / documents)
        )
        rows += [
            _row(
                f"Elasticsearch: {route}",
                requests=self.requests[route],
                sent=None if route == "/_bulk" else self.sent[route] / documents,
                answered=self.answered[route] / documents,
            )
            for route in self.sent
        ]
        rows.append(_row("Elasticsearch: refreshes of the index", requests=self.refreshes))
        return rows


def part_row(what: str, seconds: float, documents: int) -> dict[str, Any]:
    """A part of the work that was measured alone."""
    return _row(what, seconds=seconds, ms=seconds * 1000 / documents)


def _row(
    what: str,
    *,
    seconds: float | None = None,
    share: float | None = None,
    ms: float | None = None,
    requests: int | None = None,
    sent: float | None = None,
    answered: float | None = None,
) -> dict[str, Any]:
    def shown(value: float | None, digits: int) -> Any:
        return "" if value is None else round(value, digits)

    return {
        "what": what,
        "seconds": shown(seconds, 2),
        "share": shown(share, 3),
        "ms a document": shown(ms, 3),
        "requests": "" if requests is None else requests,
        "bytes sent a document": shown(sent, 0),
        "bytes answered a document": shown(answered, 0),
    }


@contextmanager
def measured(
    stack: BenchStack,
    index: str | None = None,
    workers: Mapping[str, psutil.Process] | None = None,
    metrics_port: int | None = None,
) -> Iterator[Costs]:
    """Measures the block. `workers`: processes beside those of the stack, by name; `metrics_port`: of the worker."""
    costs = Costs()
    processes = {name: stack.processes(name) for name in _NAMES}
    processes |= {name: [process] for name, process in (workers or {}).items()} | {"bench": [psutil.Process()]}
    processes = dict(sorted(processes.items(), key=lambda pair: pair[0]))
    cpu, http, steps = _cpu(processes), _http(stack), _steps(metrics_port)
    compiling = _compiling(processes["elasticsearch"])
    began = time.monotonic()
    yield costs
    costs.seconds = time.monotonic() - began
    costs.cpu = {name: seconds - cpu[name] for name, seconds in _cpu(processes).items()}
    costs.compiling = sum(
        seconds - compiling.get(thread, 0.0) for thread, seconds in _compiling(processes["elasticsearch"]).items()
    )
    after = _steps(metrics_port)
    costs.steps = {name: seconds - steps.get(name, 0.0) for name, seconds in after.items()}
    if "task" in costs.steps:
        costs.steps["between tasks"] = costs.seconds - costs.steps.pop("task")
    differences = {
        route: [value - before for value, before in zip(values, http.get(route, [0, 0, 0]), strict=True)]
        for route, values in _http(stack).items()
    }
    largest = sorted(differences, key=lambda route: -sum(differences[route][1:]))
    for route in [route for route in largest if differences[route][0]][:5]:
        costs.requests[route], costs.sent[route], costs.answered[route] = differences[route]
    if index is None:
        return
    stats = stack.es.indices.stats(index=index, metric="refresh")["_all"]["primaries"]["refresh"]
    costs.refreshes = int(stats["external_total"])


def _cpu(processes: Mapping[str, list[psutil.Process]]) -> dict[str, float]:
    return {name: sum(map(_cpu_of, set(_with_children(of_name)))) for name, of_name in processes.items()}


def _with_children(processes: list[psutil.Process]) -> list[psutil.Process]:
    alive = [process for process in processes if process.is_running()]
    this = psutil.Process()  # the others are its children
    return [*alive, *(child for process in alive if process != this for child in process.children(recursive=True))]


def _cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _compiling(processes: list[psutil.Process]) -> dict[int, float]:
    """CPU seconds of each compiler thread of the JVMs; empty where threads have no names in /proc."""
    seconds: dict[int, float] = {}
    for process in _with_children(processes):
        for thread in process.threads():
            with suppress(OSError):
                name = Path(f"/proc/{process.pid}/task/{thread.id}/comm").read_text()
                if name.startswith(_COMPILERS):
                    seconds[thread.id] = thread.user_time + thread.system_time
    return seconds


def _steps(port: int | None) -> dict[str, float]:
    if port is None:
        return {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        return {name: float(value) for name, value in _STEP.findall(response.read().decode())}


def _http(stack: BenchStack) -> dict[str, list[int]]:
    """Requests, bytes sent and bytes answered by route, as Elasticsearch counts them."""
    nodes = stack.es.nodes.stats(metric="http")["nodes"].values()
    routes: dict[str, list[int]] = {}
    for node in nodes:
        for route, counted in node["http"].get("routes", {}).items():
            values = routes.setdefault(route, [0, 0, 0])
            values[0] += counted["requests"]["count"]
            values[1] += counted["requests"]["total_size_in_bytes"]
            values[2] += counted["responses"]["total_size_in_bytes"]
    return routes
