"""Runs the gateway in uvicorn: limits, CORS, and https where a certificate is set."""

import contextlib
import socket

import structlog
import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from esblend import tracing
from esblend.logs import configure_logging
from esblend.ready_file import announce_ready, forget_ready
from esblend.settings import Settings
from query.gateway.application import Gateway, MakeRoutes
from query.gateway.head_limits import make_protocol
from query.gateway.limits import Limited
from query.gateway.tracing import Traced

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """Announces readiness once it listens."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            announce_ready(self._settings)
            scheme = "https" if self._settings.gateway_tls_certificate else "http"
            log.info("gateway ready", url=f"{scheme}://{self._settings.gateway_host}:{self._settings.gateway_port}")


_KEEP_ALIVE_SECONDS = 75
"""Longer than client pools keep idle connections: the side that closes first can lose a request in flight."""


def _application(settings: Settings, make_routes: MakeRoutes) -> ASGIApp:
    application: ASGIApp = Gateway(settings, make_routes)
    if settings.tracing:
        application = Traced(application, settings)
    application = Limited(application, settings)
    if settings.cors_origins:
        application = CORSMiddleware(
            application,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE", "HEAD"],
            allow_headers=["*"],
            expose_headers=["X-Elastic-Product", "Warning"],
        )
    return application


def run_gateway(settings: Settings, make_routes: MakeRoutes) -> None:
    """Serve until interrupted."""
    configure_logging(settings)
    tracing.set_up(settings, "gateway")
    forget_ready(settings)
    config = uvicorn.Config(
        _application(settings, make_routes), host=settings.gateway_host, port=settings.gateway_port,
        log_config=None, access_log=False,
        server_header=False, date_header=False, timeout_graceful_shutdown=10, timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        proxy_headers=False,  # nobody reads the address of the caller
        http=make_protocol(settings), ws="none", limit_concurrency=settings.gateway_max_connections,
        ssl_certfile=settings.gateway_tls_certificate, ssl_keyfile=settings.gateway_tls_key,
    )  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, settings).run()
    tracing.flush()
