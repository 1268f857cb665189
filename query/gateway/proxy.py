"""The pass-through proxy: a request and its response, byte for byte, in constant memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from starlette.types import Receive, Scope, Send

from esblend.disconnect import CallerLeft, unless_caller_leaves
from esblend.errors import EsblendError, InvalidRequest, UpstreamUnavailable
from query.gateway.bodies import body_stream
from query.gateway.routing import has_body, raw_path
from query.run.elasticsearch import HOP_BY_HOP, Upstream, header_text

# The host in the URL names Elasticsearch. The caller's `Host` names the gateway and would break virtual hosting.
_NOT_FORWARDED = HOP_BY_HOP | {b"host"}


async def pass_through(upstream: Upstream, scope: Scope, receive: Receive, send: Send) -> None:
    """Forward a request whose body is still unread."""
    if not has_body(scope):
        await forward(upstream, scope, b"", receive, send)
        return
    await forward(upstream, scope, body_stream([], receive, ended=False), receive, send)


async def forward(
    upstream: Upstream, scope: Scope, body: bytes | AsyncIterator[bytes], receive: Receive, send: Send
) -> None:
    """Send a request with `body` to Elasticsearch and stream the response to the caller.

    Raises UpstreamUnavailable when Elasticsearch does not answer, CallerLeft when the caller leaves.
    """
    is_sent = asyncio.Event()

    async def counted() -> AsyncIterator[bytes]:
        assert not isinstance(body, bytes)
        async for chunk in body:
            yield chunk
        is_sent.set()

    async def after_body() -> Any:  # until the body has been read, `receive` is reserved for the body's reader
        await is_sent.wait()
        return await receive()

    if isinstance(body, bytes):
        is_sent.set()
    data = (body or None) if isinstance(body, bytes) else counted()
    await unless_caller_leaves(after_body, _exchange(upstream, scope, data, send))


async def _exchange(upstream: Upstream, scope: Scope, data: Any, send: Send) -> None:
    headers = [
        (header_text(name), header_text(value))
        for name, value in scope["headers"]
        if name.lower() not in _NOT_FORWARDED
    ]
    try:
        async with upstream.session.request(
            scope["method"], upstream.url(_target(scope)), headers=headers, data=data, allow_redirects=False
        ) as response:
            raw = [(name.lower(), value) for name, value in response.raw_headers if name.lower() not in HOP_BY_HOP]
            await send({"type": "http.response.start", "status": response.status, "headers": raw})
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        if isinstance(error.__cause__, EsblendError | CallerLeft):
            raise error.__cause__ from error  # the caller's half of the exchange failed, not Elasticsearch's
        raise UpstreamUnavailable("the gateway cannot reach Elasticsearch") from error


def _target(scope: Scope) -> str:
    path = raw_path(scope)
    if not path.startswith("/"):  # it would become part of the host's name
        raise InvalidRequest("the request's target must be a path")
    query = scope["query_string"].decode("latin-1")
    return path + (f"?{query}" if query else "")
