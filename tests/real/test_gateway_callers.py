"""Callers that leave, foreign web pages, long numbers and compressed writes at the gateway."""

import gzip
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.conftest import Stack
from tests.real.faults import wait_for
from tests.real.gateways import gateway_with
from tests.real.raw_http import Raw
from tests.real.test_gateway import JSON, send

LONG_INTEGER, LONG_DECIMAL = "123456789012345678901234567890", "0.12345678901234567890123"


@pytest.fixture
def index(stack: Stack, make_index: Callable[..., str]) -> str:
    name = make_index({"body": "a first text"}, {"body": "a second text"})
    stack.attach(name, "body")
    stack.wait(name)
    return name


def running(stack: Stack, opaque_id: str) -> list[dict[str, Any]]:
    """The searches of this request that Elasticsearch works on. The gateway may first read the index's metadata."""
    tasks = stack.es.tasks.list(group_by="none")["tasks"]
    searches = [
        task for task in tasks if task["action"].startswith("indices:data/read/") and "search" in task["action"]
    ]
    return [task for task in searches if task["headers"].get("X-Opaque-Id") == opaque_id]


def wait_for_cancellation(stack: Stack, opaque_id: str) -> None:
    def is_cancelled() -> bool:
        tasks = running(stack, opaque_id)
        assert tasks, "the request came to its end before it was cancelled"
        return any(task.get("cancelled") for task in tasks)

    wait_for("the cancellation", is_cancelled)
    wait_for("the end", lambda: not running(stack, opaque_id))


def request(stack: Stack, opaque_id: str, line: str, body: Any = None) -> bytes:
    raw = b"" if body is None else json.dumps(body).encode()
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\nX-Opaque-Id: {opaque_id}\r\nContent-Type: application/json\r\n"
    return (head + (f"Content-Length: {len(raw)}\r\n\r\n" if raw else "\r\n")).encode() + raw


@pytest.fixture
def slow(stack: Stack, index_name: str) -> Iterator[dict[str, Any]]:
    """A query that takes about ten seconds, on `index_name`: a search with few hits needs the score of every document, too.
    Elasticsearch looks for cancellations after 4,096 documents, so a cancelled search is seen for two seconds."""
    stack.es.indices.create(index=index_name, settings={"number_of_shards": 1, "number_of_replicas": 0})
    for _ in range(2):
        lines = [line for _ in range(10_000) for line in ({"index": {}}, {"n": 1})]
        stack.es.bulk(index=index_name, operations=lines, refresh=True)
    source = "int x = 0; for (int i = 0; i < 300000; ++i) { x += (i * 31) % 7; } return 1 + x % 2"
    yield {"script_score": {"query": {"match_all": {}}, "script": {"source": source}}}
    stack.es.indices.delete(index=index_name)


def test_a_fused_search_ends_in_elasticsearch_when_its_caller_leaves(
    stack: Stack, index_name: str, slow: dict[str, Any]
) -> None:
    legs = [{"standard": {"query": slow}}, {"standard": {"query": {"match_all": {}}}}]
    searches = {
        f"/{index_name}/_search": {"retriever": {"rrf": {"retrievers": legs}}},
        f"/{index_name}/_search?track_total_hits=true": {"query": slow},
    }
    for target, body in searches.items():
        name = uuid.uuid4().hex
        with Raw(stack.described["gateway"]) as connection:
            connection.send(request(stack, name, f"POST {target}", body))
            wait_for("the search", lambda name=name: running(stack, name))
        wait_for_cancellation(stack, name)


def test_a_request_without_a_body_ends_in_elasticsearch_when_its_caller_leaves(
    stack: Stack, index_name: str, slow: dict[str, Any]
) -> None:
    name = uuid.uuid4().hex
    query = urlencode({"source": json.dumps({"query": slow}), "source_content_type": "application/json"})
    with Raw(stack.described["gateway"]) as connection:
        connection.send(request(stack, name, f"GET /{index_name}/_search?{query}"))
        wait_for("the request", lambda: running(stack, name))
    wait_for_cancellation(stack, name)


def test_long_numbers_come_back_as_they_were_written(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(properties={"body": {"type": "text"}, "raw": {"type": "object", "enabled": False}})
    document = f'{{"body": "a third text", "raw": {{"n": {LONG_INTEGER}, "d": {LONG_DECIMAL}}}}}'.encode()
    assert send(stack.described["elasticsearch"], "PUT", f"/{index}/_doc/1?refresh=true", document, JSON)[0] == 201
    leg = {"standard": {"query": {"match": {"body": "text"}}}}
    body = json.dumps({"retriever": {"rrf": {"retrievers": [leg, leg]}}}).encode()
    raw = send(stack.described["gateway"], "POST", f"/{index}/_search", body, JSON)[2]
    assert LONG_INTEGER.encode() in raw
    assert LONG_DECIMAL.encode() in raw


def test_a_multi_search_passes_on_lines_and_headers_of_the_others(stack: Stack, index: str) -> None:
    """Beside a fused search: a long number in a plain search is not rounded, and Elasticsearch's errors are its own."""
    term = f'{{"query": {{"term": {{"body": {LONG_INTEGER}}}}}, "profile": true}}'
    lines = (
        f'{{"index":"{index}"}}\n{{"query":{{"hybrid":{{"query":"text"}}}}}}\n{{"index":"{index}"}}\n{term}\n'.encode()
    )
    headers = {"content-type": "application/x-ndjson", "accept": "application/json"}
    status, _, raw = send(stack.described["gateway"], "POST", "/_msearch", lines, headers)
    first, second = json.loads(raw)["responses"]
    assert (status, first["status"], second["status"]) == (200, 200, 200)
    description = second["profile"]["shards"][0]["searches"][0]["query"][0]["description"]
    assert LONG_INTEGER in description


def test_a_word_of_esblend_in_a_plain_multi_search_changes_nothing(stack: Stack, index: str) -> None:
    lines = f'{{"index":"{index}"}}\n{{"query":{{"term":{{"body":"\\"semantic\\""}}}}}}\n'.encode()
    lines += f'{{"index":"{index}"}}\n{{"_source":["semantic","hybrid"],"query":{{"match_all":{{}}}}}}\n'.encode()
    headers = {"content-type": "application/x-ndjson", "accept": "application/json"}
    answers = [
        json.loads(send(stack.described[name], "POST", "/_msearch", lines, headers)[2])["responses"]
        for name in ("elasticsearch", "gateway")
    ]
    for answer in answers[0] + answers[1]:
        del answer["took"]
    assert answers[0] == answers[1]


def test_a_compressed_bulk_request_waits_too(stack: Stack, index: str) -> None:
    body = gzip.compress(b'{"index":{"_id":"zipped","routing":"r"}}\n{"body":"a compressed text"}\n')
    headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip", "accept": "application/json"}
    status, _, raw = send(stack.described["gateway"], "POST", f"/{index}/_bulk?wait_for=embedded", body, headers)
    answer = json.loads(raw)
    assert (status, answer["errors"], answer["esblend"]["embedded"]) == (200, False, 1)
    broken = send(stack.described["gateway"], "POST", f"/{index}/_bulk?wait_for=embedded", b"not gzip", headers)
    assert broken[0] == 400


def test_a_foreign_name_in_the_host_header_is_refused(stack: Stack, tmp_path: Path) -> None:
    port = urlsplit(stack.described["gateway"]).port
    for host, status in ((f"localhost:{port}", 200), ("127.0.0.1", 200), ("rebound.example", 403)):
        answer = send(stack.described["gateway"], "GET", "/_cluster/health", None, {"host": host})
        assert answer[0] == status, host
    assert b"ESBLEND_GATEWAY_ALLOWED_HOSTS" in answer[2]
    with gateway_with(stack, tmp_path, gateway_allowed_hosts="search.example, other.example") as client:
        url = str(next(iter(client.transport.node_pool.all())).base_url)
        assert send(url, "GET", "/_cluster/health", None, {"host": "search.example:80"})[0] == 200
        assert send(url, "GET", "/_cluster/health", None, {"host": "localhost"})[0] == 403


def test_pages_of_named_origins_may_call(stack: Stack, tmp_path: Path) -> None:
    origin = "https://app.example"
    foreign = {"origin": origin, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
    assert send(stack.described["gateway"], "GET", "/_cluster/health", None, foreign)[0] == 403
    with gateway_with(stack, tmp_path, gateway_cors_origins=origin) as client:
        url = str(next(iter(client.transport.node_pool.all())).base_url)
        status, headers, _ = send(url, "GET", "/_cluster/health", None, foreign)
        assert (status, headers["access-control-allow-origin"]) == (200, origin)
        preflight = {
            **foreign,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization",
        }
        status, headers, _ = send(url, "OPTIONS", "/_search", None, preflight)
        assert (status, headers["access-control-allow-origin"]) == (200, origin)
        assert send(url, "GET", "/_cluster/health", None, {**foreign, "origin": "https://evil.example"})[0] == 403


def test_the_callers_host_is_not_forwarded(stack: Stack, tmp_path: Path) -> None:
    """A gateway in front of a gateway that knows no other name than its own address."""
    named = {"gateway_allowed_hosts": "search.example", "es_url": stack.described["gateway"]}
    with gateway_with(stack, tmp_path, **named) as client:
        url = str(next(iter(client.transport.node_pool.all())).base_url)
        assert send(url, "GET", "/_cluster/health", None, {"host": "search.example"})[0] == 200
