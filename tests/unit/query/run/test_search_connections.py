"""Connections for searches, against a server that answers as the test says."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from query.run import search_connections
from query.run.search_connections import SearchConnections

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer, *, most: int = 4, silence: float = 20) -> AsyncIterator[SearchConnections]:
    """Connections to a server that calls `answer` for each connection, and closes it afterwards."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(accepted, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    connections = SearchConnections(f"http://{host}:{port}/prefix", tls=None, most=most, silence_seconds=silence)
    try:
        yield connections
    finally:
        await connections.close()
        listening.close()


async def request_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


async def ask(connections: SearchConnections, body: bytes = b"{}\n") -> tuple[int, bytes]:
    response = await connections.post("/_msearch?x=1", [(b"authorization", b"Basic x")], body)
    return response.status, response.body


def always(*chunks: bytes, times: int = 100) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(times):
            try:
                await request_of(reader)
            except asyncio.IncompleteReadError:
                return
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()

    return answer


async def test_a_request_arrives_whole_and_its_connection_is_used_again() -> None:
    seen: list[tuple[bytes, bytes]] = []
    accepted = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        for _ in range(2):
            seen.append(await request_of(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\ncontent-length: 2\r\n\r\n{}")

    async with server(answer) as connections:
        first = await connections.post("/_msearch?x=1", [(b"authorization", b"Basic x")], b"one\n")
        await ask(connections, b"two\n")
    assert accepted == 1
    assert [body for _, body in seen] == [b"one\n", b"two\n"]
    assert seen[0][0].startswith(b"POST /prefix/_msearch?x=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"authorization: Basic x\r\n" in seen[0][0]
    assert (b"X-Elastic-Product", b"Elasticsearch") in first.headers


@pytest.mark.parametrize(
    "chunks",
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\nwarning: 1\r\n\r\n", OK),
        (b"HTTP/1.1 200 OK\r\nconte", b"nt-length: 2\r\n\r\n", b"{", b"}"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",),
    ],
    ids=["chunked", "informational", "in parts", "closing"],
)
async def test_every_form_of_a_response_is_read(chunks: tuple[bytes, ...]) -> None:
    async with server(always(*chunks)) as connections:
        assert [await ask(connections) for _ in range(2)] == [(200, b"{}")] * 2


async def test_a_body_without_length_ends_with_its_connection() -> None:
    async with server(always(b"HTTP/1.1 200 OK\r\n\r\n{", b"}", times=1)) as connections:
        assert [await ask(connections) for _ in range(2)] == [(200, b"{}")] * 2


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
        b"not HTTP\r\n\r\n",
    ],
    ids=["nothing", "head", "body", "chunks", "other protocol"],
)
async def test_a_response_that_breaks_off_is_an_error(part: bytes) -> None:
    async with server(always(part, times=1)) as connections:
        with pytest.raises(ConnectionError):
            await ask(connections)


async def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    """Also when the close and the next request cross each other."""
    served = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK)
        if not served.is_set():
            served.set()
            await request_of(reader)  # and closes without an answer
        else:
            await request_of(reader)
            writer.write(OK)

    async with server(answer) as connections:
        assert await ask(connections) == (200, b"{}")
        assert await ask(connections) == (200, b"{}")


async def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_connections, "_IDLE_SECONDS", -1.0)
    ports: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports.append(writer.get_extra_info("peername")[1])
        await always(OK)(reader, writer)

    async with server(answer) as connections:
        await ask(connections)
        await ask(connections)
    assert len(set(ports)) == 2


async def test_a_cancelled_request_closes_its_connection() -> None:
    received, closed = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await request_of(reader)
        received.set()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        closed.set()

    async with server(answer) as connections:
        asking = asyncio.ensure_future(ask(connections))
        await received.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(closed.wait(), 20)


async def test_a_silent_server_is_given_up() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await reader.read(1)

    async with server(answer, silence=0.05) as connections:
        with pytest.raises(TimeoutError):
            await ask(connections)


async def test_more_requests_than_connections_wait() -> None:
    running = most = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        for _ in range(5):
            try:
                await request_of(reader)
            except asyncio.IncompleteReadError:
                return
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            writer.write(OK)

    async with server(answer, most=2) as connections:
        answers = await asyncio.gather(*(ask(connections) for _ in range(8)))
    assert answers == [(200, b"{}")] * 8
    assert most <= 2


async def test_a_second_response_is_not_taken_for_the_next_one() -> None:
    other = b'HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{"a":1}'
    async with server(always(OK + other)) as connections:
        assert await ask(connections) == (200, b"{}")
        assert await ask(connections) == (200, b"{}")


async def test_a_header_of_several_lines_is_not_sent() -> None:
    async with server(always(OK)) as connections:
        with pytest.raises(ValueError, match="lines"):
            await connections.post("/", [(b"x", b"1\r\nauthorization: y")], b"")


async def test_a_request_on_which_the_server_closes_its_connections_is_sent_twice_at_most() -> None:
    received = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        while True:
            try:
                _, body = await request_of(reader)
            except asyncio.IncompleteReadError:
                return
            if body == b"large\n":
                received += 1
                return
            await all_arrived.wait()
            writer.write(OK)

    async with server(answer) as connections:
        all_arrived = asyncio.Barrier(4)
        await asyncio.gather(*(ask(connections) for _ in range(4)))
        with pytest.raises(ConnectionError):
            await ask(connections, b"large\n")
    assert received == 2


async def test_a_body_without_length_whose_connection_is_reset_is_not_complete() -> None:

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")
        for _ in range(10):  # the client, on the same loop, reads what has arrived
            await asyncio.sleep(0)
        linger = struct.pack("ii", 1, 0)  # the close sends a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with server(answer) as connections:
        with pytest.raises(ConnectionError):
            await ask(connections)


async def test_an_address_that_does_not_answer_does_not_hide_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_connections, "_NEXT_ADDRESS_SECONDS", 0.01)
    async with server(always(OK)) as connections:
        port = connections._port
        with contextlib.ExitStack() as sockets:
            silent = sockets.enter_context(socket.socket())
            silent.bind(("127.0.0.2", port))
            silent.listen(0)
            for _ in range(4):  # with a full queue, the kernel answers no further connection
                waiting = sockets.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.2", port))

            async def addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
                hosts = ("127.0.0.2", "127.0.0.1")
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
            assert await ask(connections) == (200, b"{}")
