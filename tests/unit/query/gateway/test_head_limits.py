"""Invalid HTTP is refused without harm to other requests of the connection, and only the head has headers."""

import asyncio
import json
import tracemalloc
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from esblend.settings import Settings
from query.gateway.head_limits import make_protocol
from tests.real.raw_http import statuses

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n"
CHUNKED = b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
ALL_OF_A = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


class Transport(asyncio.Transport):
    """Keeps what the protocol writes. A test passes received bytes to the protocol in the chunks that it wants."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._is_closing = False

    def write(self, data: Any) -> None:
        if not self._is_closing:
            self.written += data

    def close(self) -> None:
        self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Application:
    """Answers 200 once the body has arrived. The response to /stream begins before, and ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Scope] = []
        self.bodies: list[bytes] = []
        self.stream_began = asyncio.Event()
        self.stream_ends = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope)
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if scope["path"] == "/stream":
            await send(start)
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            self.stream_began.set()
            await self.stream_ends.wait()
            await send({"type": "http.response.body", "body": b"last"})
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                self.bodies.append(body)
                await send(start)
                await send({"type": "http.response.body", "body": b"answer"})
                return


class Connection:
    def __init__(self) -> None:
        self.application = Application()
        self.transport = Transport()
        config = uvicorn.Config(self.application, log_config=None, ws="none", lifespan="off")
        self.protocol = make_protocol(Settings())(config, ServerState(), {})
        self.protocol.connection_made(self.transport)

    def receives(self, data: bytes) -> None:
        self.protocol.data_received(data)

    async def answers(self) -> None:
        """Waits until all received requests have their responses."""
        while self.protocol.tasks:
            await asyncio.wait(self.protocol.tasks)

    @property
    def statuses(self) -> list[int]:
        return statuses(self.transport.written)


@pytest.fixture
async def connection() -> Connection:
    return Connection()


async def test_many_offers_of_an_upgrade_in_one_chunk_share_its_memory(connection: Connection) -> None:
    body = b"a" * 1_000_000
    last = b"POST / HTTP/1.1\r\nUpgrade: a\r\nConnection: upgrade\r\nContent-Length: %d\r\n\r\n" % len(body)
    data = 2000 * UPGRADE + last + body
    tracemalloc.start()
    try:
        connection.receives(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000, "2001 copies of the chunk are 2 GB"
    await connection.answers()
    assert connection.statuses == [200] * 2001
    assert connection.application.bodies[-1] == body


async def test_an_invalid_body_is_answered_with_400(connection: Connection) -> None:
    connection.receives(CHUNKED % b"/b")
    connection.receives(b"ZZ\r\n")
    assert connection.statuses == [400]
    assert connection.transport.is_closing()


async def test_garbage_after_an_answered_request_is_answered_with_400(connection: Connection) -> None:
    connection.receives(GET)
    await connection.answers()
    connection.receives(b"GARBAGE\r\n\r\n")
    assert connection.statuses == [200, 400]
    assert connection.transport.is_closing()


@pytest.mark.parametrize("fault", [CHUNKED % b"/b" + b"ZZ\r\n", b"GARBAGE\r\n\r\n", b"CONNECT /a HTTP/1.1\r\n\r\n"])
async def test_a_running_response_contains_no_refusal(connection: Connection, fault: bytes) -> None:
    connection.receives(b"GET /stream HTTP/1.1\r\n\r\n")
    await connection.application.stream_began.wait()
    connection.receives(fault)
    assert connection.transport.is_closing()
    assert connection.statuses == [200]
    assert connection.transport.written.endswith(b"5\r\nfirst\r\n")
    connection.application.stream_ends.set()
    await connection.answers()


@pytest.mark.parametrize("fault", [CHUNKED % b"/b" + b"ZZ\r\n", b"GARBAGE\r\n\r\n", b"CONNECT /a HTTP/1.1\r\n\r\n"])
async def test_a_refusal_is_never_the_answer_to_the_request_before(connection: Connection, fault: bytes) -> None:
    """The application may have executed that one."""
    connection.receives(ALL_OF_A + fault)
    assert connection.transport.is_closing()
    assert connection.statuses == []


async def test_a_fault_in_the_rest_of_an_answered_request_gets_no_second_answer(connection: Connection) -> None:
    connection.application.stream_ends.set()
    connection.receives(CHUNKED % b"/stream")
    await connection.answers()
    connection.receives(b"ZZ\r\n")
    assert connection.transport.is_closing()
    assert connection.statuses == [200]


async def test_a_target_that_is_not_a_url_is_answered_with_400(connection: Connection) -> None:
    connection.receives(b"GET http:// HTTP/1.1\r\n\r\n")
    assert connection.statuses == [400]


@pytest.mark.parametrize("offer", [b"", b"Upgrade: a\r\nConnection: upgrade\r\n"])
async def test_the_body_of_connect_is_not_a_second_request(connection: Connection, offer: bytes) -> None:
    inner = b"PUT /smuggled HTTP/1.1\r\n\r\n"
    connection.receives(b"CONNECT /a HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (offer, len(inner)) + inner)
    assert connection.transport.is_closing()
    assert connection.statuses == [400]
    error = json.loads(connection.transport.written.split(b"\r\n\r\n", 1)[1])
    assert error["error"]["type"] == "illegal_argument_exception"
    assert "CONNECT" in error["error"]["reason"]
    assert not connection.protocol.tasks, "the application runs"


async def test_what_follows_a_refused_head_is_not_executed(connection: Connection) -> None:
    connection.receives(b"GET / HTTP/1.1\r\nX-A: %s\r\n\r\n" % (70_000 * b"a") + GET)
    assert connection.statuses == [431]
    assert not connection.protocol.tasks, "the application runs"


async def test_trailers_are_not_headers(connection: Connection) -> None:
    connection.receives(CHUNKED % b"/a" + b"2\r\n{}\r\n0\r\nAuthorization: ApiKey x\r\n\r\n")
    await connection.answers()
    assert connection.application.bodies == [b"{}"]
    [scope] = connection.application.asked
    assert scope["headers"] == [(b"transfer-encoding", b"chunked")]


async def test_endless_trailers_are_refused(connection: Connection) -> None:
    connection.receives(CHUNKED % b"/a" + b"2\r\n{}\r\n0\r\nX-A: ")
    for _ in range(200):
        connection.receives(1000 * b"a")
    assert connection.transport.is_closing()
    assert connection.statuses == [431]


async def test_a_body_does_not_count_as_a_part_of_the_next_head(connection: Connection) -> None:
    body = 70_000 * b"a"
    connection.receives(b"POST /a HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body + GET[:10])
    connection.receives(GET[10:])
    await connection.answers()
    assert connection.statuses == [200, 200]
    assert connection.application.bodies == [body, b""]


async def test_a_large_body_in_small_chunks_is_not_a_large_trailer(connection: Connection) -> None:
    connection.receives(CHUNKED % b"/a")
    for _ in range(40_000):
        connection.receives(b"1\r\na\r\n")
    connection.receives(b"0\r\n\r\n")
    await connection.answers()
    assert connection.statuses == [200]
    assert connection.application.bodies == [40_000 * b"a"]
