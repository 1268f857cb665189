"""One trace span per request at the gateway, and for a write the trace context that the feed continues."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Receive, Scope, Send

from esblend import tracing
from esblend.redis_connection import connect_redis_async
from esblend.settings import Settings
from query.gateway.buffered_response import BufferedResponse
from query.gateway.routing import route_of
from query.gateway.wait_for_embedded import without_compression
from query.gateway.written_documents import written_changes

log = structlog.get_logger()
_MAX_CHANGES = 10_000
"""Changes of one request whose context is stored. Larger bulk requests are imports; their changes are not traced."""


class Traced:
    """An ASGI application with a span around each request; the caller's `traceparent` becomes its parent."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._redis: Redis = connect_redis_async(settings, timeout=1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_esblend/health/"):
            await self._app(scope, receive, send)
            return
        parent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1") or None
        name = f"{scope['method']} {_endpoint(scope['path'])}"
        with tracing.span(name, {"method": scope["method"], "path": scope["path"]}, kind="server", parent=parent):
            await self._within(scope, receive, _noting_status(send))

    async def _within(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = tracing.traceparent()
        headers = [pair for pair in scope["headers"] if pair[0] != b"traceparent" or context is None]
        if context is not None:  # Elasticsearch continues the trace
            headers.append((b"traceparent", context.encode()))
        if context is None or route_of(scope).handler != "write":
            await self._app({**scope, "headers": headers}, receive, send)
            return
        answer = BufferedResponse()
        await self._app({**scope, "headers": without_compression(headers)}, receive, answer.take)
        content = await answer.json()
        if content is not None:
            await self._store(context, written_changes(content))
        await answer.pass_on(send)

    async def _store(self, context: str, changes: list[tuple[str, str, int]]) -> None:
        """Store the context for the feed. Without Redis the trace ends here; the write is unaffected."""
        began = time.perf_counter()
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for index, id_, seq_no in changes[:_MAX_CHANGES]:
                    pipeline.set(tracing.change_key(index, id_, seq_no), context, ex=tracing.CHANGE_SECONDS)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning("trace context not stored: Redis is unavailable", cause=type(error).__name__)
        tracing.past_span("store trace context", time.perf_counter() - began, {"changes": len(changes)})


def _noting_status(send: Send) -> Callable[[Any], Awaitable[None]]:
    async def noted(message: Any) -> None:
        if message["type"] == "http.response.start":
            tracing.annotate({"status": message["status"]})
        await send(message)

    return noted


def _endpoint(path: str) -> str:
    """The endpoint of a path, without names of indices and documents: `_search`, `_doc`, ..."""
    return next((step for step in path.split("/") if step.startswith("_")), "/")
