"""Limits on the head of a request (its first line and headers), which Uvicorn reads before the application runs, and `Upgrade`
headers, which are ignored."""

import asyncio

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from esblend.settings import Settings

MAX_HEAD_BYTES = 64 * 1024
"""Bytes of a request line and its headers. Elasticsearch's default is 16 KiB of headers."""
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large"
_NOT_HTTP = b"HTTP/1.1 400 Bad Request"
_HEAD_TOO_SLOW = b"HTTP/1.1 408 Request Timeout"


def make_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """The class that Uvicorn instantiates once per connection."""
    return type("Protocol", (HeadLimits,), {"silence_seconds": settings.gateway_silence_seconds})


class HeadLimits(HttpToolsProtocol):
    """Uvicorn's HTTP protocol with limits on the bytes and the seconds of a request head.

    A request with an `Upgrade` header is parsed again without it. Java's HTTP client offers HTTP/2 in this way with every first
    request, and the parser takes the body of such a request for the other protocol.
    """

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
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._asks_for_upgrade:
                head = self._head_without_upgrade()
                # The old parser ignores everything after a request with `Connection: close`.
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as Uvicorn's
                self.data_received(head + data[upgrade.args[0] :])
                return
        except httptools.HttpParserError:
            self._refuse(
                _NOT_HTTP, "it is not valid HTTP", is_responding=self._is_answering and self.cycle.response_started
            )
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_HEAD_TOO_LARGE, f"its head is larger than {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        if self._asks_for_upgrade:  # it is parsed again
            return
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
        if not self.transport.is_closing() and not self._asks_for_upgrade:
            super().on_message_complete()

    @property
    def _asks_for_upgrade(self) -> bool:
        return self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)

    def _head_without_upgrade(self) -> bytes:
        """The head that was just parsed, without the headers of the upgrade."""
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        rest = [(name, value) for name, value in self.headers if name not in (b"upgrade", b"http2-settings")]
        return line + b"".join(b"%s: %s\r\n" % pair for pair in rest) + b"\r\n"

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

    def _refuse(self, status_line: bytes, reason: str, *, is_responding: bool | None = None) -> None:
        if self.transport.is_closing():
            return
        if (
            self._is_answering if is_responding is None else is_responding
        ):  # a second status line would become part of the running response
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
