"""Searches through a server that is not Elasticsearch, or that is behind a proxy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from esblend.errors import UpstreamError, UpstreamUnavailable
from esblend.settings import Settings
from query.run.elasticsearch import ElasticsearchResponse, Upstream


@asynccontextmanager
async def upstream(response: bytes) -> AsyncIterator[Upstream]:
    """Connections to a server that sends `response` to each request."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(accepted, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    connected = Upstream(Settings(es_url=f"http://{host}:{port}"))
    try:
        yield connected
    finally:
        await connected.close()
        listening.close()


async def search(connected: Upstream) -> ElasticsearchResponse:
    return await connected.post("/_msearch", headers=[], params={}, body=b"")


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>",
        b'HTTP/1.1 200 OK\r\n\r\n{"took":1,"responses":[{',
    ],
    ids=["redirect", "page", "incomplete JSON"],
)
async def test_a_success_without_search_results_is_unavailability(response: bytes) -> None:
    async with upstream(response) as connected:
        with pytest.raises(UpstreamUnavailable, match="no search results"):
            await search(connected)


async def test_a_refusal_of_a_proxy_keeps_its_status() -> None:
    async with upstream(b"HTTP/1.0 429 Too Many Requests\r\n\r\nslow down") as connected:
        with pytest.raises(UpstreamError, match="slow down") as raised:
            await search(connected)
    assert raised.value.status == 429


async def test_all_warnings_are_returned_byte_for_byte() -> None:
    head = b"HTTP/1.1 200 OK\r\nWarning: 299 x\r\nX-Other: y\r\nwarning: 299 \xe2\x86\x92\r\ncontent-length: 16\r\n\r\n"
    async with upstream(head + b'{"responses":[]}') as connected:
        response = await search(connected)
    assert {name: value.encode("latin-1") for name, value in response.headers.items()} == {
        "Warning": b"299 x, 299 \xe2\x86\x92"
    }
