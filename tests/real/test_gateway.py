"""Elasticsearch's requests pass through unchanged; esblend's endpoints use Elasticsearch's error format."""

import gzip
import http.client
import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from elasticsearch.helpers import bulk, scan

from tests.conftest import Stack
from tests.real.test_metrics import read

JSON = {"content-type": "application/json"}
Reply = tuple[int, dict[str, str], bytes]


def send(url: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


PLAIN: dict[str, tuple[str, str, bytes | None, dict[str, str]]] = {
    "root": ("GET", "/", None, {}),
    "head": ("HEAD", "/plain-index", None, {}),
    "a document": ("GET", "/plain-index/_doc/1?pretty", None, {}),
    "a missing document": ("GET", "/plain-index/_doc/nope", None, {}),
    "a missing index": ("GET", "/no-such-index/_search", None, {}),
    "an encoded id": ("GET", "/plain-index/_doc/a%2Fb%20c", None, {}),
    "a mapping": ("GET", "/plain-index/_mapping", None, {}),
    "cat": ("GET", "/_cat/indices/plain-index?v&h=index,docs.count", None, {}),
    "yaml": ("GET", "/plain-index/_count", None, {"accept": "application/yaml"}),
    "a search": ("POST", "/plain-index/_search?filter_path=hits", b'{"query":{"match":{"t":"one"}}}', JSON),
    "a search by GET": ("GET", "/plain-index/_search?filter_path=hits.total", b'{"query":{"match_all":{}}}', JSON),
    "a search by URL": ("GET", "/plain-index/_search?q=t:one&filter_path=hits", None, {}),
    "a broken search": ("POST", "/plain-index/_search", b'{"query":{"match":{"hybrid":', JSON),
    "an unknown query": ("POST", "/plain-index/_search", b'{"query":{"nope":{}}}', JSON),
    "a multi search": (
        "POST",
        "/_msearch?filter_path=responses.hits",
        b'{"index":"plain-index"}\n{"size":1}\n',
        {"content-type": "application/x-ndjson"},
    ),
    "an unknown path": ("GET", "/_no/_such/_api", None, {}),
    "a wrong method": ("DELETE", "/_cat/indices", None, {}),
    "compatible with 8": (
        "GET",
        "/plain-index/_count",
        None,
        {"accept": "application/vnd.elasticsearch+json;compatible-with=8"},
    ),
    "compressed": ("GET", "/plain-index/_search?filter_path=hits", None, {"accept-encoding": "gzip"}),
    "an opaque id": ("GET", "/plain-index/_count", None, {"x-opaque-id": "my-id"}),
}


@pytest.fixture(scope="module", autouse=True)
def plain_index(stack: Stack) -> Any:
    stack.es.indices.create(index="plain-index", mappings={"properties": {"k": {"type": "keyword"}}})
    for id_ in ("1", "2", "a/b c"):
        document = {"t": "one " * int(id_ == "1") + "two " * 200, "k": int(id_ == "1")}
        stack.es.index(index="plain-index", id=id_, document=document, refresh=True)
    yield
    stack.es.indices.delete(index="plain-index")


@pytest.mark.parametrize("case", PLAIN)
def test_plain_requests_get_the_very_same_answer(stack: Stack, case: str) -> None:
    method, path, body, headers = PLAIN[case]
    direct = send(stack.described["elasticsearch"], method, path, body, headers)
    through = send(stack.described["gateway"], method, path, body, headers)
    assert through[0] == direct[0]
    assert through[2] == direct[2]
    hop = {"transfer-encoding", "connection", "content-length"}
    assert {k: v for k, v in through[1].items() if k not in hop} == {k: v for k, v in direct[1].items() if k not in hop}


def get(url: str, target: str) -> tuple[int, bytes]:
    """`target` goes out as it is, whatever it is."""
    address = urlsplit(url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


@pytest.mark.parametrize("target", [
    "/plain-index%2F..%2F..%2Fetc/_search", "/plain-index/..%2f..%2f_search", "/../../_esblend/../plain-index/_count",
    "//elsewhere.invalid/_count", "/\\elsewhere.invalid/", "@elsewhere.invalid/", ":1@elsewhere.invalid/", "elsewhere.invalid:1",
    "*", "/%00", "/%", "/?%zz", "/plain-index/_doc/%2e%2e%2f%2e%2e", "/;/../_count", "/.%2e/_count", "/@elsewhere.invalid",
])  # fmt: skip
def test_no_path_leaves_the_cluster(stack: Stack, target: str) -> None:
    """The gateway refuses, or answers what Elasticsearch does. To look the other host up would end in a 503."""
    direct, through = get(stack.described["elasticsearch"], target), get(stack.described["gateway"], target)
    assert through[0] in (400, 404) or through == direct


def test_of_a_whole_url_the_path_counts(stack: Stack) -> None:
    expected = get(stack.described["elasticsearch"], "/plain-index/_count")
    for host in ("http://elsewhere.invalid", "http://elsewhere.invalid:1", "http://elsewhere.invalid@127.0.0.1"):
        assert get(stack.described["gateway"], f"{host}/plain-index/_count") == expected


def test_a_compressed_hybrid_search_is_understood(stack: Stack) -> None:
    body = gzip.compress(json.dumps({"query": {"hybrid": {"query": "x"}}}).encode())
    status, headers, raw = send(
        stack.described["gateway"], "POST", "/plain-index/_search", body, {**JSON, "content-encoding": "gzip"}
    )
    assert status == 404
    assert b"not attached" in raw
    assert headers["x-elastic-product"] == "Elasticsearch"


def test_a_large_body_streams_through(stack: Stack) -> None:
    line = b'{"index":{"_index":"plain-index","_id":"big"}}\n' + json.dumps({"t": "x" * 9_000_000}).encode() + b"\n"
    status, _, raw = send(
        stack.described["gateway"], "POST", "/_bulk?refresh=true", line, {"content-type": "application/x-ndjson"}
    )
    assert (status, json.loads(raw)["errors"]) == (200, False)
    status, _, raw = send(stack.described["gateway"], "GET", "/plain-index/_doc/big")
    assert len(json.loads(raw)["_source"]["t"]) == 9_000_000


def test_a_search_body_above_the_limit_goes_on_unparsed(stack: Stack) -> None:
    body = json.dumps({"query": {"terms": {"k": ["1", *[f"{n:0200d}" for n in range(45_000)]]}}}).encode()
    assert len(body) > 8 * 2**20
    status, _, raw = send(stack.described["gateway"], "POST", "/plain-index/_search?filter_path=hits.total", body, JSON)
    assert (status, json.loads(raw)["hits"]["total"]["value"]) == (200, 1)


@pytest.mark.parametrize("path", ["/_esblend/nothing", "/_esblend/playground/nothing", "/_esblend/indices"])
def test_unknown_paths_of_esblends_own(stack: Stack, path: str) -> None:
    status, _, raw = send(stack.described["gateway"], "GET", path)
    assert status == 404
    assert json.loads(raw)["status"] == 404


def test_health(stack: Stack) -> None:
    assert stack.call("GET", "/_esblend/health/live") == {"status": "live"}
    assert stack.call("GET", "/_esblend/health/ready") == {"status": "ready"}


def test_the_official_client_works_unchanged(stack: Stack) -> None:
    client: Elasticsearch = stack.gateway
    index = "client-index"
    client.indices.create(index=index, mappings={"properties": {"body": {"type": "text"}}})
    assert (
        bulk(client, ({"_index": index, "_id": str(n), "body": f"number {n}"} for n in range(50)), refresh=True)[0]
        == 50
    )
    assert len(list(scan(client, index=index, size=7))) == 50
    pit = client.open_point_in_time(index=index, keep_alive="1m")["id"]
    assert client.search(pit={"id": pit}, size=3)["hits"]["total"]["value"] == 50
    client.close_point_in_time(id=pit)
    assert client.update(index=index, id="1", doc={"body": "changed"})["result"] == "updated"
    assert client.options(ignore_status=404).get(index=index, id="nope")["found"] is False
    client.indices.delete(index=index)


async def test_the_asynchronous_client_works_too(stack: Stack) -> None:
    async with AsyncElasticsearch(stack.described["gateway"], http_compress=True) as client:
        assert (await client.count(index="plain-index"))["count"] >= 3


ATTACH_REFUSED: dict[str, tuple[str, Any, int, str]] = {
    "unknown index": ("no-such-index", {"source_fields": ["t"]}, 404, "no-such-index"),
    "a wildcard": ("plain-*", {"source_fields": ["t"]}, 400, "wildcards"),
    "unknown field": ("plain-index", {"source_fields": ["titel"]}, 400, "titel"),
    "no text": ("plain-index", {"source_fields": ["t.keyword"]}, 400, "t.keyword"),
    "no body": ("plain-index", None, 400, "JSON"),
    "unknown key": ("plain-index", {"source_fields": ["t"], "fields": []}, 400, "fields"),
    "a model that is not there": (
        "plain-index",
        {"source_fields": ["t"], "model": "/no/such/model"},
        400,
        "/no/such/model",
    ),
    "a width that differs": ("plain-index", {"source_fields": ["t"], "vector": {"dims": 768}}, 400, "384"),
    "passages longer than the model reads": (
        "plain-index",
        {"source_fields": ["t"], "passages": {"max_tokens": 400}},
        400,
        "256",
    ),
}


@pytest.mark.parametrize("case", ATTACH_REFUSED)
def test_what_cannot_be_attached_is_refused_and_nothing_is_changed(stack: Stack, case: str) -> None:
    index, body, status, word = ATTACH_REFUSED[case]
    before = stack.es.indices.get_mapping(index="plain-index").body
    with pytest.raises(ApiError) as caught:
        stack.call("PUT", f"/_esblend/indices/{index}", body)
    assert caught.value.meta.status == status
    assert word in caught.value.body["error"]["reason"]
    assert stack.es.indices.get_mapping(index="plain-index").body == before


def test_attach_show_and_detach(stack: Stack, index_name: str) -> None:
    mappings = {"_meta": {"owner": "team"}, "properties": {"body": {"type": "text"}, "esblend": {"type": "keyword"}}}
    stack.es.indices.create(index=index_name, mappings=mappings)
    path = f"/_esblend/indices/{index_name}"
    dry = stack.call("PUT", path, {"source_fields": ["body"]}, dry_run="true")
    assert "esblend_1" in dry["mapping_additions"]
    assert stack.es.indices.get_mapping(index=index_name)[index_name]["mappings"]["_meta"] == {"owner": "team"}

    done = stack.attach(index_name, "body")
    assert done["acknowledged"] is True
    assert done["attachment"]["field"] == "esblend_1"
    assert stack.attach(index_name, "body") == done
    assert stack.call("GET", path)["attachment"] == done["attachment"]
    with pytest.raises(ApiError, match="already attached with other settings"):
        stack.attach(index_name, "body", passages={"max_tokens": 100})

    assert stack.call("DELETE", path)["acknowledged"] is True
    assert stack.es.indices.get_mapping(index=index_name)[index_name]["mappings"]["_meta"] == {"owner": "team"}
    for method in ("GET", "DELETE"):
        with pytest.raises(ApiError, match="not attached"):
            stack.call(method, path)
    stack.es.indices.delete(index=index_name)


def test_an_index_attached_again_gets_a_new_generation(stack: Stack, index_name: str) -> None:
    stack.es.index(index=index_name, id="1", document={"body": "text"}, refresh=True)
    stack.attach(index_name, "body")
    stack.wait(index_name)
    stack.call("DELETE", f"/_esblend/indices/{index_name}")
    again = stack.attach(index_name, "body", passages={"max_tokens": 64})
    assert again["attachment"]["active"] == "g2"
    assert stack.wait(index_name)["embedded"] == 1
    assert stack.gateway.search(index=index_name, query={"hybrid": {"query": "text"}})["hits"]["total"]["value"] == 1
    stack.es.indices.delete(index=index_name)


def test_an_alias_of_one_index_can_be_attached_and_searched(stack: Stack, index_name: str) -> None:
    stack.es.index(index=index_name, id="1", document={"body": "text"}, refresh=True)
    alias = f"{index_name}-alias"
    stack.es.indices.put_alias(index=index_name, name=alias)
    assert stack.attach(alias, "body")["index"] == index_name
    stack.wait(alias)
    assert (
        stack.gateway.search(index=alias, query={"hybrid": {"query": "text"}})["hits"]["hits"][0]["_index"]
        == index_name
    )
    stack.es.indices.delete(index=index_name)


def test_waiting_for_coverage_ends_in_time(stack: Stack, index_name: str) -> None:
    stack.es.indices.create(index=index_name, mappings={"properties": {"body": {"type": "text"}}})
    stack.attach(index_name, "body")
    assert stack.wait(index_name)["coverage"] == 1.0
    for parameter in ("wait_for_coverage=2", "wait_for_coverage=1&timeout=soon"):
        status, _, _ = send(stack.described["gateway"], "GET", f"/_esblend/indices/{index_name}/status?{parameter}")
        assert status == 400
    stack.es.indices.delete(index=index_name)


def test_metrics_count_searches_and_contain_no_index_names(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "whales"})
    stack.attach(index, "body")
    stack.wait(index)
    url = f"{stack.described['gateway']}/_esblend/metrics"
    before = read(url).get('esblend_searches_total{kind="hybrid",outcome="answered"}', 0)
    stack.gateway.search(index=index, query={"hybrid": {"query": "marine animals"}})
    stack.gateway.search(index=index, query={"match_all": {}})
    metrics = read(url)
    assert metrics['esblend_searches_total{kind="hybrid",outcome="answered"}'] == before + 1
    assert metrics['esblend_search_step_seconds_count{step="legs"}'] >= 1
    for leg in ("lexical", "semantic"):
        assert metrics[f'esblend_search_leg_seconds_count{{leg="{leg}"}}'] >= 1
    assert not any(index in name for name in metrics)
