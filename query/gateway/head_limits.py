"""Limits on the head of a request (its first line and headers), which Uvicorn reads before the application runs. Ignores
`Upgrade` headers and trailers, and refuses CONNECT."""

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

    An invalid request is answered with 400 if its response is the next one of the connection. Otherwise the connection closes,
    because the 400 would become a part of another request's response.
    """

    silence_seconds: float
    """`make_protocol` sets it in a subclass."""
    _bytes_outside_bodies = 0
    """Received since the last head, body or part of a body: of an incomplete head or trailer. The chunk in which it begins does
    not count, because it may contain other requests as well."""
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
        self._bytes_outside_bodies += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(_NOT_HTTP, "it is not valid HTTP")
            return
        if self._bytes_outside_bodies > MAX_HEAD_BYTES:
            part = "head" if self._in_head else "trailer"
            self._refuse(_HEAD_TOO_LARGE, f"its {part} is larger than {MAX_HEAD_BYTES} bytes")

    def _parse(self, data: bytes) -> None:
        # Slices of it copy nothing: a chunk may contain thousands of requests with an `Upgrade` header.
        rest = memoryview(data)
        while (offset := self._parse_until_upgrade(rest)) is not None and not self.transport.is_closing():
            rest = rest[offset:]
            head = self._head_without_upgrade()
            # The old parser ignores everything after a request with `Connection: close`.
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as Uvicorn's
            self.parser.feed_data(head)

    def _parse_until_upgrade(self, data: memoryview) -> int | None:
        """Parse up to the end of a head that asks for another protocol. Returns its offset, None if everything was parsed."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return int(upgrade.args[0])
        return None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer, which must not replace a header that was checked
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():  # a request before was refused
            return
        if self.parser.get_method() == b"CONNECT":  # its body would be parsed as the next request
            self._refuse(
                _NOT_HTTP, "the gateway does not support CONNECT; send requests to it directly, not as to a proxy"
            )
            return
        if self._asks_for_upgrade:  # it is parsed again
            return
        self._stop_head_timer()
        self._bytes_outside_bodies = 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE, f"its head is larger than {MAX_HEAD_BYTES} bytes")
            return
        super().on_headers_complete()  # raises for a target that is not a URL
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        self._bytes_outside_bodies = 0
        if not self.transport.is_closing():  # else the head was refused and no application runs
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._bytes_outside_bodies = 0
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

    @property
    def _is_next_response(self) -> bool:
        """Whether the next response of the connection belongs to the request that is being parsed, and has not begun."""
        if self._in_head:
            return not self._is_answering
        # `self.cycle` is the newest request. The responses of those in `self.pipeline` wait for another one.
        return not self.pipeline and self.cycle.more_body and not self.cycle.response_started

    def _wait_for_head(self) -> None:
        self._bytes_outside_bodies = 0
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
        if self._is_next_response:
            self.transport.write(_error_response(status_line, f"the request was refused: {reason}"))
        self.transport.close()


def _error_response(status_line: bytes, reason: str) -> bytes:
    """A whole HTTP response with an error in Elasticsearch's shape."""
    status = int(status_line.split(b" ")[1])
    cause = {"type": "illegal_argument_exception", "reason": reason}
    body = orjson.dumps({"error": {"root_cause": [cause], **cause}, "status": status})
    head = b"\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    return status_line + head + body
