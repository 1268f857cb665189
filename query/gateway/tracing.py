"""One span for each request at the gateway, and for a write the context that the feed will ask for."""

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
from query.gateway.wait_for_embedded import is_write, without_compression, written_changes

log = structlog.get_logger()
_MOST_CHANGES = 10_000
"""Of one request that are kept; a backfill by bulk requests of more is no write that somebody follows."""


class Traced:
    """An ASGI application with a span around each request, as a child of the caller's where it sends a `traceparent`."""

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
        if context is not None:  # Elasticsearch goes on from here
            headers.append((b"traceparent", context.encode()))
        if context is None or not is_write(scope):
            await self._app({**scope, "headers": headers}, receive, send)
            return
        answer = BufferedResponse()
        await self._app({**scope, "headers": without_compression(headers)}, receive, answer.take)
        content = answer.json()
        if content is not None:
            await self._keep(context, written_changes(content))
        await answer.pass_on(send)

    async def _keep(self, context: str, changes: list[tuple[str, str, int]]) -> None:
        """Leave the context where the feed finds it. Without Redis the trace ends here, and nothing else."""
        began = time.perf_counter()
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for index, id_, seq_no in changes[:_MOST_CHANGES]:
                    pipeline.set(tracing.change_key(index, id_, seq_no), context, ex=tracing.CHANGE_SECONDS)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning("a trace ends at the gateway: Redis is away", cause=type(error).__name__)
        tracing.past_span("keep trace", time.perf_counter() - began, {"changes": len(changes)})


def _noting_status(send: Send) -> Callable[[Any], Awaitable[None]]:
    async def noted(message: Any) -> None:
        if message["type"] == "http.response.start":
            tracing.annotate({"status": message["status"]})
        await send(message)

    return noted


def _endpoint(path: str) -> str:
    """What a request is about, without names of indices and documents: `_search`, `_doc`, ..."""
    return next((step for step in path.split("/") if step.startswith("_")), "/")
