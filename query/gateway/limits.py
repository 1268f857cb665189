"""Limits on callers: connections, concurrent requests, bytes of a request head, and silence."""

import asyncio
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from esblend.errors import CallerTooSlow, TooManyRequests
from esblend.settings import Settings
from query.gateway.responses import error_response

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request line and its headers. Elasticsearch's default is 16 KiB of headers."""
_ALWAYS_ANSWERED = ("/_esblend/health/", "/_esblend/metrics")
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large"
_HEAD_TOO_SLOW = b"HTTP/1.1 408 Request Timeout"


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
                raise ConnectionResetError("the caller does not read the response") from error

        return sent


def make_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """Uvicorn's HTTP protocol with limits on the bytes and the seconds of a request head."""

    class Protocol(HttpToolsProtocol):
        _head_bytes = 0
        _in_head = True
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_head_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse(_HEAD_TOO_LARGE, f"its head is larger than {MAX_HEAD_BYTES} bytes")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._wait_for_head()

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._stop_head_timer()
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
                self._refuse(_HEAD_TOO_LARGE, f"its head is larger than {MAX_HEAD_BYTES} bytes")
                return
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            if not self.transport.is_closing():  # else the head was refused and no application runs
                super().on_body(body)

        def on_message_complete(self) -> None:
            if not self.transport.is_closing():
                super().on_message_complete()

        @property
        def _is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _wait_for_head(self) -> None:
            self._head_bytes = 0
            self._in_head = True
            self._start_head_timer()

        def _start_head_timer(self) -> None:
            self._stop_head_timer()
            self._head_timer = self.loop.call_later(settings.gateway_silence_seconds, self._head_timed_out)

        def _head_timed_out(self) -> None:
            if self._is_answering:  # a pipelined head; its sender may still be reading this response
                self._start_head_timer()
            else:
                self._refuse(_HEAD_TOO_SLOW, "its head did not arrive in time")

        def _stop_head_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _refuse(self, status_line: bytes, reason: str) -> None:
            if self.transport.is_closing():
                return
            if self._is_answering:  # a second status line would become part of the running response
                self.transport.close()
                return
            status = int(status_line.split(b" ")[1])
            cause = {"type": "illegal_argument_exception", "reason": f"the request was refused: {reason}"}
            body = orjson.dumps({"error": {"root_cause": [cause], **cause}, "status": status})
            head = b"\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(status_line + head + body)
            self.transport.close()

    return Protocol
