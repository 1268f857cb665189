"""Too many, slow and endless callers are rejected or disconnected, and the others are served."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from tests.conftest import Stack
from tests.real.faults import wait_for
from tests.real.gateways import gateway_with
from tests.real.raw_http import Raw, statuses


@pytest.fixture(scope="module")
def narrow(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Elasticsearch]]:
    """A gateway that answers four requests at once and is patient for a second."""
    limits = {"gateway_max_requests": "4", "gateway_silence_seconds": "1"}
    with gateway_with(stack, tmp_path_factory.mktemp("narrow"), **limits) as client:
        [node] = client.transport.node_pool.all()
        yield node.base_url, client


def test_a_head_that_does_not_end_is_cut_off(narrow: tuple[str, Elasticsearch]) -> None:
    url, client = narrow
    with Raw(url) as silent, Raw(url) as begun, Raw(url) as dripping:
        begun.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        stop = threading.Event()

        def drip() -> None:
            dripping.send(b"GET / HTTP/1.1\r\n")
            while not stop.wait(0.2):
                dripping.send(b"X-A: a\r\n")

        thread = threading.Thread(target=drip)
        thread.start()
        assert client.info()["version"]  # others are served meanwhile
        try:
            for connection in (silent, begun, dripping):
                assert statuses(connection.until_closed()) == [408]
        finally:
            stop.set()
            thread.join()


def test_a_second_request_of_a_connection_has_to_come_too(narrow: tuple[str, Elasticsearch]) -> None:
    url, _ = narrow
    with Raw(url) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost")
        assert statuses(connection.until_closed()) == [200, 408]


@pytest.mark.parametrize("target", ["/_search", "/_bulk", "/_esblend/indices/x", "/_bulk?wait_for=embedded"])
def test_a_body_that_does_not_come_is_not_waited_for(narrow: tuple[str, Elasticsearch], target: str) -> None:
    url, _ = narrow
    method = "PUT" if "indices" in target else "POST"
    with Raw(url) as connection:
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        connection.send(head.encode() + b'{"a"')
        received = connection.until_closed()
    assert statuses(received) == [408]
    assert json.loads(received.split(b"\r\n\r\n", 1)[1])["error"]["type"] == "timeout_exception"


def test_endless_headers_are_refused(narrow: tuple[str, Elasticsearch]) -> None:
    url, _ = narrow
    with Raw(url) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        for _ in range(200):
            connection.send(b"a" * 1000)
        assert statuses(connection.until_closed()) == [431]


def test_a_refused_head_has_no_body(narrow: tuple[str, Elasticsearch]) -> None:
    url, client = narrow
    with Raw(url) as connection:
        head = b"POST /_search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nX-A: " + b"a" * 66_000
        connection.send(head + b"\r\n\r\n" + b'{"a": 1}\n')
        assert statuses(connection.until_closed()) == [431]
    assert client.info()["version"]


def test_an_answer_in_progress_is_not_broken_by_the_next_requests_head(narrow: tuple[str, Elasticsearch]) -> None:
    """Elasticsearch takes two seconds to find that there is one node only; the gateway's patience is one."""
    url, _ = narrow
    with Raw(url) as connection:
        slow = b"GET /_cluster/health?wait_for_nodes=9&timeout=2s HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.send(slow + b"GET / HTTP/1.1\r\n")
        received = connection.until_closed()
    assert statuses(received) == [408, 408]  # Elasticsearch has the same status for what it says
    assert received.index(b'"timed_out":true') < received.index(b"its head did not arrive in time")


def test_more_requests_than_it_answers_at_once(stack: Stack, tmp_path: Path) -> None:
    limits = {"gateway_max_requests": "4", "gateway_silence_seconds": "60"}
    with gateway_with(stack, tmp_path, **limits) as client, ThreadPoolExecutor(4) as pool:
        [node] = client.transport.node_pool.all()
        stack.es.indices.create(index="test-held", mappings={"properties": {"body": {"type": "text"}}})
        stack.attach("test-held", "body")
        stack.es.index(index="test-held", id="1", document={"body": "a"}, refresh=True)
        stop = threading.Event()

        def hold() -> bytes:
            """Take a place and keep it. Who comes while the test itself asks is refused, and tries again."""
            while True:
                with Raw(node.base_url) as connection:
                    headers = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n"
                    connection.send(b"POST /_search HTTP/1.1\r\n" + headers + b"\r\n{")
                    if connection.is_silent(0.5):
                        stop.wait(60)
                        connection.send(b"}")
                        return connection.until_closed()

        held = [pool.submit(hold) for _ in range(4)]
        try:

            def is_full() -> bool:
                answer = client.options(max_retries=0, ignore_status=429).info()
                return answer.get("error", {}).get("type") == "es_rejected_execution_exception"

            wait_for("a full gateway", is_full)
            headers = {"accept": "*/*"}
            assert client.perform_request("GET", "/_esblend/health/live", headers=headers).meta.status == 200
            assert client.perform_request("GET", "/_esblend/metrics", headers=headers).meta.status == 200
        finally:
            stop.set()
        assert [statuses(request.result())[0] for request in held] == [200] * 4
        assert client.info()["version"]
    stack.es.indices.delete(index="test-held")


def test_a_caller_that_does_not_read_is_let_go(stack: Stack, narrow: tuple[str, Elasticsearch]) -> None:
    url, client = narrow
    stack.es.index(index="test-large", id="1", document={"body": "a" * 20_000_000}, refresh=True)
    try:
        greedy = [Raw(url) for _ in range(4)]
        for connection in greedy:
            connection.send(b"GET /test-large/_doc/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # They hold all four places until the gateway has had enough of them.
        wait_for("the others' turn", lambda: client.options(ignore_status=429).info().meta.status == 200)
        for connection in greedy:
            connection.__exit__()
    finally:
        stack.es.indices.delete(index="test-large")
