"""The gateway's ASGI application: dispatches each request to its handler and turns every error into a response.

caller -> /_esblend/...              -> admin endpoints, playground
       -> .../_search, .../_msearch  -> search_handler, multi_search
       -> _count, _explain, ...      -> query_handler
       -> a write that waits         -> write_handler
       -> _bulk                      -> bulk_guard, proxy
       -> anything else              -> proxy, byte for byte
"""

from collections.abc import Callable
from typing import Any

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from esblend.caller_access import Access
from esblend.disconnect import CallerLeft
from esblend.errors import EsblendError, Forbidden
from esblend.metrics import PASSED
from esblend.settings import Settings
from query import playground
from query.admin.endpoints import Management
from query.gateway.bulk_guard import GuardedIndices, guarded_bulk, is_bulk
from query.gateway.context import GatewayContext
from query.gateway.cross_site import is_cross_site, is_unknown_host
from query.gateway.multi_search import multi_search
from query.gateway.proxy import pass_through
from query.gateway.query_handler import query_api, refuse_rankings
from query.gateway.request_id import request_id
from query.gateway.responses import error_for, on_error, on_http_error
from query.gateway.routing import Route, route_of
from query.gateway.search_handler import search
from query.gateway.wait_for_embedded import asks_to_wait
from query.gateway.write_handler import write_and_wait

log = structlog.get_logger()
MakeRoutes = Callable[[Access, Callable[[], dict[str, Any]]], list[StarletteRoute]]
"""Makes further endpoints below /_esblend from the caller's access and a description of the loaded encoders."""


class Gateway:
    """The ASGI application."""

    def __init__(self, settings: Settings, make_routes: MakeRoutes) -> None:
        self._settings = settings
        self._context = context = GatewayContext(settings)
        self._guarded = GuardedIndices()
        access = Access(lambda request: context.client_for(request.scope), context.own_es)
        management = Management(
            settings, context.upstream, context.metadata, context.embedder, access,
            lambda request: context.requester(request.scope),
        )  # fmt: skip
        self._management: ASGIApp = Starlette(
            routes=[*playground.routes(), *management.routes(), *make_routes(access, context.embedder.describe)],
            exception_handlers={
                EsblendError: on_error, ApiError: on_error, TransportError: on_error, HTTPException: on_http_error,
                Exception: on_error,
            },
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            with bound_contextvars(request_id=request_id(scope)):
                await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler. An error before the response has begun becomes the response."""
        has_begun = False

        async def noting_send(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            self._check_origin(scope)
            await self._handle(route_of(scope), scope, receive, noting_send)
        except (CallerLeft, ClientDisconnect):
            log.info("caller disconnected", path=scope["path"])
        except Exception as error:
            if has_begun:  # the status line is sent; only closing the connection shows the failure to the caller
                raise
            await error_for(scope, error)(scope, receive, send)

    async def _handle(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        if route.handler == "management":
            await self._management(scope, receive, send)
        elif route.handler in ("search", "async_search"):
            await search(self._context, route, scope, receive, send)
        elif route.handler == "multi_search":
            await multi_search(self._context, route, scope, receive, send)
        elif route.handler == "query":
            await query_api(self._context, route, scope, receive, send)
        elif route.handler == "no_ranking":
            await refuse_rankings(self._context, route, scope, receive, send)
        elif route.handler == "write" and asks_to_wait(scope):
            await write_and_wait(self._context, self._guarded, route, scope, receive, send)
        elif route.handler == "write" and is_bulk(scope):
            PASSED.inc()
            await guarded_bulk(self._context, self._guarded, route, scope, receive, send)
        else:
            PASSED.inc()
            await pass_through(self._context.upstream, scope, receive, send)

    def _check_origin(self, scope: Scope) -> None:
        """Raises Forbidden for requests that a foreign web page may have sent."""
        if is_unknown_host(scope, self._settings.allowed_hosts):
            raise Forbidden(
                "the [Host] header names a host that this gateway does not know; add it to ESBLEND_GATEWAY_ALLOWED_HOSTS"
            )
        if is_cross_site(scope, self._settings.cors_origins):
            raise Forbidden(
                "requests from pages of other sites are refused; ESBLEND_GATEWAY_CORS_ORIGINS lists the sites that may send them"
            )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self._context.running():
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})
