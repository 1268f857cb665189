"""Connections to Elasticsearch for the requests of searches: whole bodies in both directions, over HTTP/1.1.

A search sends up to three small requests one after the other, and waits for the client's own work in each. So this client does only
what these requests need (docs/decisions/020-search-connections.md). `Upstream` streams everything else.
"""

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools
from aiohappyeyeballs import start_connection

_IDLE_SECONDS = 60.0
"""A connection that has not been used for longer is closed: something on the way may have forgotten it."""
_CONNECT_SECONDS = 5.0
_NEXT_ADDRESS_SECONDS = 0.25
"""While an address of the host does not answer, the next one is tried as well (RFC 8305): IPv6 may be broken on the way."""
Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class HttpResponse:
    """A whole response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class SearchConnections:
    """Keeps idle connections open. Every request has its connection for itself."""

    def __init__(self, url: str, *, tls: ssl.SSLContext | None, most: int, silence_seconds: float) -> None:
        """`url`: the server's address. Its path, if it has one, comes before the paths of requests. `most`: the number of
        connections at the same time. `silence_seconds`: the longest pause of the server before and within a response."""
        parts = urlsplit(url)
        self._host, self._tls = parts.hostname or "", tls
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._path = parts.path.rstrip("/").encode()
        self._authority = parts.netloc.encode()
        self._silence_seconds = silence_seconds
        self._places = asyncio.Semaphore(most)
        self._idle: deque[_Connection] = deque()

    async def post(self, path: str, headers: Headers, body: bytes) -> HttpResponse:
        """Send a request that may be sent twice. Raises OSError without a complete response. A caller that is cancelled closes the
        connection, from which Elasticsearch knows that nobody waits for the response."""
        lines = [b"POST %s%s HTTP/1.1" % (self._path, path.encode()), b"host: " + self._authority]
        lines += [b"%s: %s" % header for header in headers]
        lines += [b"content-length: %d" % len(body), b"\r\n"]
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(lines):
            raise ValueError("a header of the request has several lines")
        async with self._places:
            connection = self._idle_connection()
            if connection is not None:
                try:
                    return await self._exchange(connection, head + body)
                except ConnectionError:
                    if connection.has_answered:
                        raise
            # Either there is no idle connection, or the server closed it while the request was on its way. A server that closes
            # connections because of the request gets it twice, and not once for each idle connection.
            return await self._exchange(await self._connect(), head + body)

    async def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def _exchange(self, connection: "_Connection", request: bytes) -> HttpResponse:
        try:
            response = await connection.send(request, self._silence_seconds)
        except BaseException:
            connection.close()
            raise
        if connection.is_reusable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def _idle_connection(self) -> "_Connection | None":
        """The connection that was used last: the others may expire."""
        expired = time.monotonic() - _IDLE_SECONDS
        while self._idle and (self._idle[0].is_closed or self._idle[0].idle_since < expired):
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
        return None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        # `wait_for` of Python 3.11 can lose the cancellation of its caller.
        async with asyncio.timeout(_CONNECT_SECONDS):
            addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            connected = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS)
            name = self._host if self._tls else None
            _, connection = await loop.create_connection(
                _Connection, sock=connected, ssl=self._tls, server_hostname=name
            )
        return connection


@dataclass
class _Answer:
    """A response while it arrives."""

    done: asyncio.Future[HttpResponse]
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    has_head: bool = False


class _Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    idle_since = 0.0
    is_reusable = False
    is_closed = False
    has_answered = False
    """Whether any byte of a response to the current request has arrived."""

    def __init__(self) -> None:
        self._answer: _Answer | None = None
        self._heard_at = 0.0

    async def send(self, request: bytes, silence_seconds: float) -> HttpResponse:
        """The response to `request`. Raises ConnectionError, or TimeoutError when the server pauses for too long."""
        loop = asyncio.get_running_loop()
        self._answer = _Answer(loop.create_future())
        self._parser = httptools.HttpResponseParser(self)
        self.has_answered = self.is_reusable = False
        self._heard_at = loop.time()
        self._transport.write(request)
        self._timer = loop.call_later(silence_seconds, self._check_silence, loop, silence_seconds)
        try:
            return await self._answer.done
        finally:
            self._timer.cancel()
            self._answer = None

    def close(self) -> None:
        self.is_closed = True
        self._transport.abort()

    def _check_silence(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        rest = self._heard_at + seconds - loop.time()
        if rest > 0:
            self._timer = loop.call_later(rest, self._check_silence, loop, seconds)
        else:
            self._fail(TimeoutError("the server sent nothing for too long"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done.done():
            self._answer.done.set_exception(error)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked: this connection is out of step
            self.close()
            return
        self.has_answered = True
        self._heard_at = asyncio.get_running_loop().time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the response is not valid HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        answer = self._answer
        if answer is not None and error is None and answer.has_head and not self._has_length(answer):
            self._finish(answer)  # RFC 9112, section 6.3: the end of the connection is the end of the body
        self._fail(error if isinstance(error, OSError) else ConnectionResetError("the server closed the connection"))

    # httptools

    def on_message_begin(self) -> None:
        answer = self._answer
        if answer is None or answer.done.done():  # a second response: this connection is out of step
            self.close()
        else:
            answer.headers.clear()  # of a response with status 1xx

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None and not self._answer.has_head:  # else it is a trailer
            self._answer.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._answer is not None:
            self._answer.has_head = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        if self._answer is not None:
            self._answer.chunks.append(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done.done() and self._answer.has_head:
            self.is_reusable = self._parser.should_keep_alive()
            self._finish(self._answer)

    def _finish(self, answer: _Answer) -> None:
        if not answer.done.done():
            response = HttpResponse(self._parser.get_status_code(), answer.headers, b"".join(answer.chunks))
            answer.done.set_result(response)

    @staticmethod
    def _has_length(answer: _Answer) -> bool:
        return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in answer.headers)
