"""Limits on the head of a request (its first line and headers), which Uvicorn reads before the application runs."""

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from esblend.settings import Settings

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request line and its headers. Elasticsearch's default is 16 KiB of headers."""
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large"
_HEAD_TOO_SLOW = b"HTTP/1.1 408 Request Timeout"


def make_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """The class that Uvicorn instantiates once per connection."""
    return type("Protocol", (HeadLimits,), {"silence_seconds": settings.gateway_silence_seconds})


class HeadLimits(HttpToolsProtocol):
    """Uvicorn's HTTP protocol with limits on the bytes and the seconds of a request head."""

    silence_seconds: float
    """`make_protocol` sets it in a subclass."""
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
        self._head_timer = self.loop.call_later(self.silence_seconds, self._head_timed_out)

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
        self.transport.write(_error_response(status_line, f"the request was refused: {reason}"))
        self.transport.close()


def _error_response(status_line: bytes, reason: str) -> bytes:
    """A whole HTTP response with an error in Elasticsearch's shape."""
    status = int(status_line.split(b" ")[1])
    cause = {"type": "illegal_argument_exception", "reason": reason}
    body = orjson.dumps({"error": {"root_cause": [cause], **cause}, "status": status})
    head = b"\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    return status_line + head + body
