"""Starts, watches and ends background processes, identified by id and start time."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil
from pydantic import BaseModel


class Launched(BaseModel):
    """A process that was started here. The start time distinguishes it from a later process with the same id."""

    pid: int
    created: float
    """Seconds after the machine's start, which clock changes do not affect."""


def launch(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    cwd: Path,
    user: tuple[int, int] | None = None,
) -> Launched:
    """Start `command` in a new session, with output to `log`, and as (uid, gid) `user` if given."""
    log.parent.mkdir(parents=True, exist_ok=True)
    identity = {"user": user[0], "group": user[1], "extra_groups": []} if user else {}
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env=dict(env), cwd=cwd, start_new_session=True, **identity,  # type: ignore[call-overload]
        )  # fmt: skip
    try:
        created = _born(psutil.Process(process.pid))
    except psutil.NoSuchProcess:
        created = 0.0
    return Launched(pid=process.pid, created=created)


def _born(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()


def find(launched: Launched) -> psutil.Process | None:
    """The process if it still runs; None when it ended or its id belongs to another process now."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(launched.pid)
        if abs(_born(process) - launched.created) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def family(launched: Launched) -> list[int]:
    """Ids of the process and its descendants, starting with its own; empty when it ended."""
    process = find(launched)
    if process is None:
        return []
    with contextlib.suppress(psutil.Error):
        return [process.pid, *(child.pid for child in process.children(recursive=True))]
    return [launched.pid]


def stop(launched: Iterable[Launched], *, grace_seconds: float) -> None:
    """Ask each process to end, wait, then kill remaining descendants. None of them runs on return."""
    roots = [process for each in launched if (process := find(each))]
    everyone = list(roots)
    for process in roots:
        with contextlib.suppress(psutil.Error):
            everyone += process.children(recursive=True)
    for process in roots:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, running = psutil.wait_procs(everyone, timeout=grace_seconds)
    for process in running:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(running, timeout=10)
    _reap(process.pid for process in roots)


def _reap(pids: Iterable[int]) -> None:
    """Reap children of this process, so that none stays a zombie."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError, OSError):
            os.waitpid(pid, os.WNOHANG)


def leave_in_order() -> None:
    """Turn SIGTERM and SIGHUP into an exception, so that this process stops its servers before it ends."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, leave)
