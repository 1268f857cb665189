"""Additional gateways with other settings."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch

from esblend.local.ports import FreePorts
from tests.conftest import ROOT, Stack
from tests.prefork import end_process, has_ended, start_process
from tests.real.faults import kill, process, revive, wait_for


@contextmanager
def gateway_with(
    stack: Stack,
    folder: Path,
    *,
    client_options: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    **settings: str,
) -> Iterator[Elasticsearch]:
    """A client of another gateway over the stack's Elasticsearch, with `settings` (without their prefix) of its own."""
    scheme = "https" if "gateway_tls_certificate" in settings else "http"
    ready = folder / "ready"
    log = folder / "gateway.log"
    with FreePorts() as ports:
        port = ports.choose(0)
        env = {key: value for key, value in os.environ.items() if not key.startswith("ESBLEND_")} | {
            "ESBLEND_ES_URL": stack.described["elasticsearch"], "ESBLEND_REDIS_URL": stack.described["redis"],
            "ESBLEND_MODEL": "minilm", "ESBLEND_GATEWAY_PORT": str(port), "ESBLEND_READY_FILE": str(ready),
            **{f"ESBLEND_{key.upper()}": value for key, value in settings.items()}, **(environment or {}),
        }  # fmt: skip
        ports.let_servers_listen()
        gateway = start_process([sys.executable, "-m", "esblend", "gateway"], log=log, env=env, cwd=ROOT)

        def is_ready() -> bool:
            assert not has_ended(gateway), log.read_text()
            return ready.exists()

        wait_for("the gateway", is_ready)  # the port stays reserved until then
    try:
        with Elasticsearch(f"{scheme}://127.0.0.1:{port}", request_timeout=60, **client_options or {}) as client:
            yield client
    finally:
        end_process(gateway, seconds=30)


@contextmanager
def own_processes(stack: Stack, folder: Path, **environment: str) -> Iterator[Elasticsearch]:
    """Feed, worker and gateway with this environment; the stack's own feed and worker stop meanwhile. A client of the gateway."""
    kill(stack, "feed", "worker")
    try:
        with (
            process(stack, "esblend", "worker", place=folder, **environment),
            process(stack, "esblend", "feed", place=folder, **environment),
            gateway_with(stack, folder, environment=environment) as gateway,
        ):
            yield gateway
    finally:
        revive(stack)
