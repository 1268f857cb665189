"""The proxy while Elasticsearch does not answer."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from esblend.disconnect import CallerLeft
from esblend.errors import UpstreamUnavailable
from esblend.settings import Settings
from query.gateway.proxy import forward, pass_through
from query.run.elasticsearch import Upstream

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing the connection resets it."""


@contextmanager
def resetting_server(answer: bytes = b"") -> Iterator[str]:
    """The URL of a server that resets each connection on its first byte, after the beginning of an answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def scope(**keys: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "PUT",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"",
        "headers": [],
        **keys,
    }


async def _send(_: Any) -> None:
    raise AssertionError("nothing was answered")


async def _stays() -> Any:
    await asyncio.Event().wait()


async def _leaves() -> Any:
    return {"type": "http.disconnect"}


async def test_a_connection_that_elasticsearch_resets_is_an_answer_for_the_caller() -> None:
    with resetting_server() as url:
        upstream = Upstream(Settings(es_url=url))
        await upstream.open()
        try:
            for _ in range(3):
                with pytest.raises(UpstreamUnavailable):
                    await forward(upstream, scope(), b"text", _stays, _send)
            with pytest.raises(CallerLeft):
                await pass_through(upstream, scope(headers=[(b"content-length", b"20")]), _leaves, _send)
        finally:
            await upstream.close()


@pytest.mark.parametrize("answer", [b"", b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"hits"'])
async def test_own_requests_name_the_outage(answer: bytes) -> None:
    with resetting_server(answer) as url:
        upstream = Upstream(Settings(es_url=url))
        await upstream.open()
        try:
            with pytest.raises(UpstreamUnavailable):
                await upstream.post("/a", headers=[], params={}, body=b"")
        finally:
            await upstream.close()
