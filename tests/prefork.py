"""Starts `esblend` processes by a fork of one process that has imported them. Imports are most of the CPU of a start.

    test process  --(command, environment, folder, log)-->  the process with the imports  --fork-->  feed, worker, gateway

The forked process goes through the same entry point as `python -m esblend`, and imports nothing twice. A start of the whole stack,
the acceptance tests and the documentation start their processes as a shell does.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from io import BufferedRWPair
from pathlib import Path
from typing import Any

import psutil

from esblend.local.processes import Launched, launch

ROOT = Path(__file__).parent.parent
_OURS = [sys.executable, "-m", "esblend"]
_PROCESSES = ("feed", "worker", "gateway")
_IMPORTS = (
    "esblend.own_packages", "esblend.cli.main", "esblend.logs", "esblend.encoder.registry",
    "esblend.encoder.vector_cache", "indexer.commands", "indexer.care.endpoints", "indexer.feed.process", "workers.commands",
    "workers.embed", "workers.worker", "query.gateway.command", "query.gateway.server",
)  # fmt: skip
"""The modules that the processes import when they start. PyTorch is not among them: it starts threads, which a fork would lose."""
_SECONDS = 120


def start_process(command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path) -> psutil.Process:
    """Start `command` with its output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    if _can_fork(command, env):
        return _forks().start(command, log=log, env=env, cwd=cwd)
    with log.open("ab") as output:
        return psutil.Popen(list(command), env=dict(env), cwd=cwd, stdout=output, stderr=output)


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end_process(process: psutil.Process, seconds: float) -> None:
    """Ask the process to end, and kill it after `seconds`."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        try:
            process.wait(timeout=seconds)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(timeout=30)


def launch_by_fork(
    command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path, user: tuple[int, int] | None = None
) -> Launched:
    """In place of `esblend.local.processes.launch`, when a stack starts its processes again."""
    if not _can_fork(command, env):
        return launch(command, log=log, env=env, cwd=cwd, user=user)
    process = start_process(command, log=log, env=env, cwd=cwd)
    return Launched(pid=process.pid, created=process.create_time() - psutil.boot_time())


def _can_fork(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a fork has the modules that the command would import, and no others."""
    paths = env.get("PYTHONPATH", "").split(os.pathsep)
    replaces_modules = any((Path(path) / "sitecustomize.py").exists() or _has_libraries(path) for path in paths if path)
    is_ours = list(command[:3]) == _OURS and command[3] in _PROCESSES
    return sys.platform == "linux" and is_ours and not replaces_modules


def _has_libraries(path: str) -> bool:
    """Whether the folder has another version of a library that the forking process has imported."""
    return (Path(path) / "elasticsearch").exists()


@cache
def _forks() -> "_Forks":
    return _Forks()


class _Forks:
    """The process with the imports, as its parent sees it. It ends when this process ends."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ESBLEND_")}
        command = [sys.executable, "-m", "tests.prefork"]
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            command,
            stdin=there.fileno(),
            stdout=self._log,
            stderr=self._log,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        there.close()
        here.settimeout(_SECONDS)
        self._socket, self._requests = here, here.makefile("rwb")
        atexit.register(self.end)

    def start(self, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path) -> psutil.Process:
        request = {"arguments": list(command[3:]), "log": str(log), "env": dict(env), "cwd": str(cwd)}
        answer = self._send(json.dumps(request).encode())
        if not answer:
            self._log.seek(0)
            raise AssertionError(f"the process with the imports has ended: {self._log.read().decode()}")
        process = psutil.Process(int(answer))
        self._send(b"begin")  # not before: a process that has ended is a process that psutil does not know
        return process

    def _send(self, line: bytes) -> bytes:
        self._requests.write(line + b"\n")
        self._requests.flush()
        return self._requests.readline()

    def end(self) -> None:
        self._requests.close()
        self._socket.close()
        self._process.wait(timeout=_SECONDS)


def _serve(requests: BufferedRWPair) -> dict[str, Any] | None:
    """Fork for each request. Returns it in the new process, and None in this one when its parent has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the processes leave no zombies
    while line := requests.readline():
        wait, begin = os.pipe()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(begin)
            may_begin = os.read(wait, 1)
            os.close(wait)
            return dict(json.loads(line)) if may_begin else None
        requests.write(b"%d\n" % child)
        requests.flush()
        os.write(begin, requests.readline()[:1])
        requests.write(b"begun\n")
        requests.flush()
        os.close(wait)
        os.close(begin)
    return None


def _become(request: Mapping[str, Any]) -> None:
    """Take over what `python -m esblend` would have from its start."""
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    output = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(output)
    os.close(nothing)
    sys.path[0] = request["cwd"]
    sys.path[1:1] = [
        path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path
    ]
    sys.argv = ["esblend", *request["arguments"]]


def _main() -> None:
    for name in _IMPORTS:
        import_module(name)
    gc.freeze()  # so that no collection copies the shared pages
    with socket.socket(fileno=os.dup(0)) as connection:
        request = _serve(connection.makefile("rwb"))
    if request is not None:
        _become(request)
        runpy.run_module("esblend", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
