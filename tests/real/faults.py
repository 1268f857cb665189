"""Tools for fault tests: a stack whose parts may be killed, additional processes, a bad network."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from esblend.local.stack import StackOptions, load_state, up
from esblend.settings import Settings
from tests.conftest import ROOT, Stack
from tests.in_process import without_settings
from tests.packaged_encoder import vectors_of
from tests.prefork import end_process, has_ended, launch_by_fork, start_process


def pids(stack: Stack, name: str) -> list[int]:
    return list(all_pids(stack)[name])


def all_pids(stack: Stack) -> dict[str, list[int]]:
    """As `esblend ps` shows them."""
    state = load_state(stack.data_dir)
    assert state is not None
    return dict(state.describe()["pids"])


def log_lines(stack: Stack, name: str) -> list[str]:
    """The last lines of each log of a process, as `esblend logs` prints them."""
    files = sorted((stack.data_dir / "logs").glob(f"{name}*.log"))
    return [line for file in files for line in file.read_text("utf-8", errors="replace").splitlines()[-200:]]


def kill(stack: Stack, *names: str) -> None:
    """Kill processes with their children, and wait until none of them runs."""
    killed = [pid for name in names for pid in reversed(pids(stack, name))]
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(f"the end of {names}", lambda: not any(map(_runs, killed)))


def _runs(pid: int) -> bool:
    """While one thread of a killed process is left, its ports are in use."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


def revive(stack: Stack) -> None:
    """Start again what has died."""
    if all(all_pids(stack).values()):
        return
    with pytest.MonkeyPatch.context() as patch:
        without_settings(patch)
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        patch.setattr("esblend.local.stack.launch", launch_by_fork)
        state = up(stack.data_dir, StackOptions(), Settings(), say=lambda line: None)
    assert state.gateway == stack.described["gateway"], "the revived stack has another port"


def wait_for(what: str, holds: Callable[[], Any], seconds: float = 240, shows: Callable[[], Any] = str) -> Any:
    """The first true value of `holds`; when there is none in time, the failure tells what `shows` gives."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < seconds:
        value = holds()
        if value:
            return value
        # The longer it takes, the less often it looks: to look costs CPU, which the servers need.
        threading.Event().wait(min(0.25, 0.05 + waited / 40))
    raise AssertionError(f"{what} did not come about within {seconds} s; {shows()}")


@contextmanager
def process(stack: Stack, *command: str, place: Path, **environment: str) -> Iterator[psutil.Process]:
    """A process beside those of the stack, on its servers, once it is ready."""
    ready = place / f"ready-{random.getrandbits(40)}"
    log = place / f"{ready.name}.log"
    env = {
        **os.environ, "ESBLEND_ES_URL": stack.described["elasticsearch"], "ESBLEND_REDIS_URL": stack.described["redis"],
        "ESBLEND_MODEL": "minilm", "ESBLEND_READY_FILE": str(ready), "PYTHONPATH": str(ROOT), **environment,
    }  # fmt: skip
    started = start_process([sys.executable, "-m", *command], log=log, env=env, cwd=place)
    try:
        wait_for(f"{command} ready", lambda: ready.exists() or has_ended(started))
        assert not has_ended(started), log.read_text()
        yield started
    finally:
        end_process(started, seconds=60)


def with_vectors(stack: Stack, index: str, id_: str) -> dict[str, Any]:
    """A document's whole source, vectors included."""
    stack.es.indices.refresh(index=index)
    source: Any = {"exclude_vectors": False}
    return dict(
        stack.es.search(index=index, query={"ids": {"values": [id_]}}, source=source)["hits"]["hits"][0]["_source"]
    )


def vectors_by_id(stack: Stack, index: str) -> dict[str, tuple[str, list[Any]]]:
    """Each document's text and passages' vectors."""
    hits = stack.es.search(index=index, size=10_000, source={"exclude_vectors": False})["hits"]["hits"]  # type: ignore[arg-type]
    return {
        hit["_id"]: (
            hit["_source"].get("body", ""),
            [passage["vector"] for passage in hit["_source"].get("esblend", {}).get("g1", {}).get("passages", [])],
        )
        for hit in hits
    }


def assert_vectors_of_present_texts(stack: Stack, index: str, count: int) -> None:
    """Every document has exactly the vector of its text, and `esblend verify` finds nothing."""
    stack.wait(index, seconds=180)
    stored = vectors_by_id(stack, index)
    assert len(stored) == count
    without = [id_ for id_, (_, vectors) in stored.items() if len(vectors) != 1]
    assert not without, f"without a vector: {without[:10]}"
    expected = vectors_of([text for text, _ in stored.values()])
    products = (np.array([vectors[0] for _, vectors in stored.values()]) * expected).sum(axis=1)
    np.testing.assert_allclose(products, 1, atol=1e-4)
    verified = stack.esblend("verify", index, "--sample", "5", "--json")
    assert verified.returncode == 0, verified.stdout


class BadNetwork:
    """A TCP proxy in front of a server: it is slow, breaks connections, refuses some, and lets answers get lost."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.delay_seconds = 0.0
        self.reset_probability = 0.0
        self.lost_answer_probability = 0.0
        """A request goes through and the connection breaks before its answer: the write has happened."""
        self.refusal_probability = 0.0
        """A new connection gets a 429 or a 503, and is closed."""
        self.is_cut = False
        """All connections end, and new ones are closed at once: see `cut`."""
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "BadNetwork":
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    def cut(self) -> None:
        """End all connections, and accept none until `mend`."""
        self.is_cut = True
        self._loop.call_soon_threadsafe(self._abort_all)

    def mend(self) -> None:
        self.is_cut = False

    def _abort_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            await self._carry(reader, writer)
        finally:
            self._open.discard(writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if random.random() < self.refusal_probability:
            await reader.read(65536)
            status = random.choice(["429 Too Many Requests", "503 Service Unavailable"])
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            with contextlib.suppress(OSError):
                await writer.drain()
            writer.close()
            return
        there, back = await asyncio.open_connection(*self._target)

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, answers: bool) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while data := await source.read(65536):
                    await asyncio.sleep(self.delay_seconds)
                    chance = self.lost_answer_probability if answers else self.reset_probability
                    if random.random() < chance:
                        break
                    target.write(data)
                    await target.drain()
            for stream in (writer, back):
                stream.transport.abort() if hasattr(stream, "transport") else None  # type: ignore[attr-defined]

        await asyncio.gather(carry(reader, back, answers=False), carry(there, writer, answers=True))
