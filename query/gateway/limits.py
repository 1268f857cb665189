"""Limits on concurrent requests and on silent callers. `head_limits` limits the heads of requests."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from esblend.disconnect import CallerLeft
from esblend.errors import CallerTooSlow, TooManyRequests
from esblend.settings import Settings
from query.gateway.responses import error_response

_ALWAYS_ANSWERED = ("/_esblend/health/", "/_esblend/metrics")


class Limited:
    """An ASGI application with a limit on concurrent requests, which drops callers that stop sending or reading.

    Probes and metrics are answered even at the limit, when they are needed most.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._max_requests = settings.gateway_max_requests
        self._silence = settings.gateway_silence_seconds
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_ALWAYS_ANSWERED):
            await self._app(scope, receive, send)
            return
        if self._running >= self._max_requests:
            full = TooManyRequests(f"the gateway already answers {self._max_requests} requests; try again later")
            await error_response(full)(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, self._receive_in_time(receive), self._send_in_time(send))
        finally:
            self._running -= 1

    def _receive_in_time(self, receive: Receive) -> Receive:
        is_complete = False

        async def received() -> Any:
            nonlocal is_complete
            if is_complete:  # the next message is the disconnect, which has no deadline
                return await receive()
            try:
                async with asyncio.timeout(self._silence):
                    message = await receive()
            except TimeoutError as error:
                raise CallerTooSlow(f"no part of the request's body arrived for {self._silence:g} s") from error
            is_complete = not message.get("more_body", False)
            return message

        return received

    def _send_in_time(self, send: Send) -> Send:
        async def sent(message: Any) -> None:
            try:
                async with asyncio.timeout(self._silence):
                    await send(message)
            except TimeoutError as error:
                raise CallerLeft("the caller does not read the response") from error

        return sent
