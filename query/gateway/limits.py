"""What the gateway takes from callers at most: connections, requests at once, bytes before a body, and silence."""

import asyncio
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from esblend.errors import CallerTooSlow, TooManyRequests
from esblend.settings import Settings
from query.gateway.responses import error_response

MOST_HEAD_BYTES = 64 * 1024
"""Of a request line with its headers. Elasticsearch itself takes 16 KiB of headers unless told otherwise."""
_ALWAYS_ANSWERED = ("/_esblend/health/", "/_esblend/metrics")
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large"
_HEAD_TOO_SLOW = b"HTTP/1.1 408 Request Timeout"


class Limited:
    """An ASGI application that answers so many requests at once, and breaks off with callers who neither send nor read on.

    Probes and metrics are answered even when it is full: they are wanted most then.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._most = settings.gateway_max_requests
        self._silence = settings.gateway_silence_seconds
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_ALWAYS_ANSWERED):
            await self._app(scope, receive, send)
            return
        if self._running >= self._most:
            full = TooManyRequests(f"the gateway answers {self._most} requests already: try again later")
            await error_response(full)(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, self._soon_received(receive), self._soon_sent(send))
        finally:
            self._running -= 1

    def _soon_received(self, receive: Receive) -> Receive:
        is_complete = False

        async def received() -> Any:
            nonlocal is_complete
            if is_complete:  # what comes now is the end of the connection, and may be waited for
                return await receive()
            try:
                async with asyncio.timeout(self._silence):
                    message = await receive()
            except TimeoutError as error:
                raise CallerTooSlow(f"nothing came of the request's body for {self._silence:g} s") from error
            is_complete = not message.get("more_body", False)
            return message

        return received

    def _soon_sent(self, send: Send) -> Send:
        async def sent(message: Any) -> None:
            try:
                async with asyncio.timeout(self._silence):
                    await send(message)
            except TimeoutError as error:
                raise ConnectionResetError("the caller does not read its answer") from error

        return sent


def make_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """Uvicorn's HTTP with an end to the patience for a request's head: its bytes and its seconds."""

    class Protocol(HttpToolsProtocol):
        _head_bytes = 0
        _in_head = True
        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > MOST_HEAD_BYTES:
                    self._refuse(_HEAD_TOO_LARGE, f"its head is larger than {MOST_HEAD_BYTES} bytes")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._wait_for_head()

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._stop_waiting()
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD_BYTES:
                self._refuse(_HEAD_TOO_LARGE, f"its head is larger than {MOST_HEAD_BYTES} bytes")
                return
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            if not self.transport.is_closing():  # else the head was refused, and there is nobody to take it
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
            self._be_patient()

        def _be_patient(self) -> None:
            self._stop_waiting()
            self._patience = self.loop.call_later(settings.gateway_silence_seconds, self._lose_patience)

        def _lose_patience(self) -> None:
            if self._is_answering:  # the head of the next request; its sender may still be busy with this answer
                self._be_patient()
            else:
                self._refuse(_HEAD_TOO_SLOW, "its head did not come in time")

        def _stop_waiting(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

        def _refuse(self, status_line: bytes, reason: str) -> None:
            if self.transport.is_closing():
                return
            if self._is_answering:  # a second status line amid that answer would be taken for a part of it
                self.transport.close()
                return
            status = int(status_line.split(b" ")[1])
            cause = {"type": "illegal_argument_exception", "reason": f"the request was refused: {reason}"}
            body = orjson.dumps({"error": {"root_cause": [cause], **cause}, "status": status})
            head = b"\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(status_line + head + body)
            self.transport.close()

    return Protocol
