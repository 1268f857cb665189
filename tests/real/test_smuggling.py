"""Ambiguous requests are rejected; no text of a caller gets into a header or to another host."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from tests.conftest import Stack
from tests.real.gateways import gateway_with
from tests.real.raw_http import Raw, statuses

INNER = b"PUT /smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
HEAD = b"POST /_search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def sized(extra: bytes, body: bytes, length: int | None = None) -> bytes:
    return HEAD + extra + b"Content-Length: %d\r\n\r\n" % (len(body) if length is None else length) + body


AMBIGUOUS = {
    "length and chunks": sized(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + INNER),
    "chunks, then length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "two lengths": sized(b"Content-Length: 2\r\n", b"{}" + INNER),
    "two lengths in one": HEAD + b"Content-Length: 2, 80\r\n\r\n{}" + INNER,
    "another encoding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunks not last": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + INNER,
    "space before the colon": sized(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + INNER),
    "vertical tab": sized(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n" + INNER),
    "folded header": sized(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n" + INNER),
    "signed length": HEAD + b"Content-Length: +2\r\n\r\n{}" + INNER,
    "hexadecimal length": HEAD + b"Content-Length: 0x2\r\n\r\n{}" + INNER,
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n{}" + INNER,
    "NUL in a header": sized(b"X-A: a\x00b\r\n", b"{}"),
    "bare CR in a header": sized(b"X-A: a\rTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + INNER),
    "bare LF": HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}" + INNER,
    "chunk size with a sign": HEAD + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n" + INNER,
    "chunk longer than it says": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX\r\n0\r\n\r\n" + INNER,
}


@pytest.fixture(scope="module")
def gateway(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway that loses its patience soon."""
    with gateway_with(stack, tmp_path_factory.mktemp("raw"), gateway_silence_seconds="2") as client:
        [node] = client.transport.node_pool.all()
        yield node.base_url


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_request_is_refused_with_its_connection(stack: Stack, gateway: str, name: str) -> None:
    with Raw(gateway) as connection:
        connection.send(AMBIGUOUS[name])
        received = connection.until_closed()
    received_statuses = statuses(received)
    assert received_statuses, "closed without a word"
    assert received_statuses[-1] == 400, received
    assert len(received_statuses) == 1 or received_statuses[:-1] == [400], received
    assert not stack.es.indices.exists(index="smuggled")


def test_what_comes_in_one_connection_is_answered_in_its_order(gateway: str) -> None:
    """Pipelining is no smuggling: both see two requests."""
    with Raw(gateway) as connection:
        connection.send(sized(b"", b"{}") + b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = connection.until_closed()
    assert statuses(received) == [200, 200]
    assert received.index(b'"hits"') < received.index(b'"cluster_name"')


@pytest.mark.parametrize(
    "target", ["/x%0d%0aX-Injected:%20yes/_search", "/_search?preference=a%0d%0aX-Injected:%20yes", "/%00/_search"]
)
@pytest.mark.parametrize("body", [b'{"query": {"match_all": {}}}', b'{"query": {"hybrid": {"query": "a"}}}'])
def test_no_header_is_made_of_a_path_or_parameter(gateway: str, target: str, body: bytes) -> None:
    head = (
        f"POST {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n".encode()
    )
    with Raw(gateway) as connection:
        connection.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        received = connection.until_closed()
    headers = received.split(b"\r\n\r\n")[0].lower()
    assert b"\r\nx-injected" not in headers
    assert statuses(received)[0] in (200, 400, 404)


def test_a_warning_made_of_a_callers_text_stays_one_line(stack: Stack, tmp_path: Path) -> None:
    with gateway_with(stack, tmp_path, query_encoder_budget_seconds="0.000001") as client:
        stack.es.index(index="test-warned", id="1", document={"body": "a"}, refresh=True)
        stack.attach("test-warned", "body")
        answer = client.search(index="test-warned", query={"hybrid": {"query": 'a\r\nX-Injected: "yes" é'}})
        assert answer["esblend"]["degraded"]
        assert "x-injected" not in answer.meta.headers
    stack.es.indices.delete(index="test-warned")


@pytest.mark.parametrize("form", ["http://{host}/", "//{host}/", "@{host}/", "{host}", "/..//{host}/"])
@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_no_other_host_is_ever_asked(gateway: str, form: str, method: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        host = f"127.0.0.1:{other.getsockname()[1]}"
        with Raw(gateway) as connection:
            target = form.format(host=host)
            head = (
                f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: {host}\r\nConnection: close\r\n\r\n"
            )
            connection.send(head.encode())
            connection.until_closed()
        other.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.accept()


def test_a_refusal_is_an_answer_that_clients_understand(gateway: str) -> None:
    with Elasticsearch(gateway) as client:
        assert client.info()["version"]
    with Raw(gateway) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n")
        received = connection.until_closed()
    assert statuses(received) == [431]
    assert json.loads(received.split(b"\r\n\r\n", 1)[1])["error"]["type"] == "illegal_argument_exception"


UPGRADE = b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n"
NOTHING = b'{"query": {"match_none": {}}, "track_total_hits": 77}'
SENT = {
    "at once": [sized(UPGRADE, NOTHING)],
    "the body later": [sized(UPGRADE, b"", len(NOTHING)), NOTHING],
    "in the middle of the head": [sized(UPGRADE, NOTHING)[:90], sized(UPGRADE, NOTHING)[90:]],
    "in chunks": [
        HEAD + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n",
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(NOTHING), NOTHING),
    ],
}


@pytest.mark.parametrize("delivery", SENT)
def test_an_offer_of_http_2_is_ignored(gateway: str, delivery: str) -> None:
    """As Java's HTTP client sends it. The body belongs to the request, and the connection goes on."""
    with Raw(gateway) as connection:
        for part in SENT[delivery]:
            connection.send(part)
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = connection.until_closed()
    assert statuses(received) == [200, 200]
    assert b'"total":{"value":0,' in received
    assert b'"cluster_name"' in received


def test_an_offer_of_http_2_hides_no_second_request(stack: Stack, gateway: str) -> None:
    with Raw(gateway) as connection:
        connection.send(sized(UPGRADE + b"Connection: close\r\n", INNER))
        received = connection.until_closed()
    assert statuses(received) == [400]
    assert not stack.es.indices.exists(index="smuggled")
