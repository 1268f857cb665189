"""Headers, formats and errors of a fused search are those that Elasticsearch gives a plain search."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from tests.conftest import Stack

PLAIN: dict[str, Any] = {"query": {"match": {"body": "wing"}}}
FUSED: dict[str, Any] = {"query": {"hybrid": {"query": "wing"}}}
NOT_JSON = '{"query":{"match":{"semantic":"x"}'
V8 = "application/vnd.elasticsearch+json;compatible-with=8"
V9 = "application/vnd.elasticsearch+json;compatible-with=9"


@pytest.fixture(scope="module")
def index(stack: Stack) -> Iterator[str]:
    name = f"forms-{uuid.uuid4().hex[:12]}"
    stack.es.indices.create(index=name, mappings={"properties": {"body": {"type": "text"}}})
    for body in ("lift of a swept wing", "the price of bread"):
        stack.es.index(index=name, document={"body": body}, refresh=True)
    stack.attach(name, "body")
    stack.wait(name)
    yield name
    stack.es.indices.delete(index=name)


def post(base: str, path: str, body: Any, **headers: str) -> urllib3.BaseHTTPResponse:
    given = {"content-type": "application/json", "accept": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return urllib3.request("POST", base + path, body=body if isinstance(body, str) else json.dumps(body), headers=given)


@pytest.mark.parametrize(
    ("accept", "sent"),
    [(V8, V8), (V9, V9), (V9, V8), (V9, "application/json"), ("*/*", V9), ("json", "application/json")],
)
def test_media_types_are_accepted_and_rejected_as_by_elasticsearch(
    stack: Stack, index: str, accept: str, sent: str
) -> None:
    direct = post(stack.described["elasticsearch"], f"/{index}/_search", PLAIN, accept=accept, content_type=sent)
    fused = post(stack.described["gateway"], f"/{index}/_search", FUSED, accept=accept, content_type=sent)
    assert (fused.status, fused.headers["content-type"]) == (direct.status, direct.headers["content-type"])
    if direct.status == 400:
        assert fused.json()["error"]["type"] == direct.json()["error"]["type"] == "media_type_header_exception"


def test_the_type_of_a_body_is_written_in_any_case(stack: Stack, index: str) -> None:
    answer = post(stack.described["gateway"], f"/{index}/_search", FUSED, content_type="application/JSON")
    assert answer.json()["hits"]["total"]["value"] == 2


def test_a_response_in_another_format_is_refused(stack: Stack, index: str) -> None:
    for path, body in (
        (f"/{index}/_search", json.dumps(FUSED)),
        (f"/{index}/_msearch", f"{{}}\n{json.dumps(FUSED)}\n"),
    ):
        answer = post(stack.described["gateway"], path, body, accept="application/yaml")
        assert (answer.status, "as JSON" in answer.json()["error"]["reason"]) == (400, True)


@pytest.mark.parametrize("wrong", [False, True])
def test_the_callers_id_comes_back(stack: Stack, index: str, wrong: bool) -> None:
    body = {"query": {"hybrid": {"query": ""}}} if wrong else FUSED
    answer = post(stack.described["gateway"], f"/{index}/_search", body, x_opaque_id="mine")
    assert (answer.status, answer.headers["x-opaque-id"]) == (400 if wrong else 200, "mine")


@pytest.mark.parametrize("body", [PLAIN, FUSED], ids=["plain", "fused"])
def test_bytes_beyond_ascii_in_headers_stay_as_they_are(stack: Stack, index: str, body: Any) -> None:
    value = "Zoë 検索".encode().decode("latin-1")  # the client writes Latin-1
    answer = post(stack.described["gateway"], f"/{index}/_search", body, x_opaque_id=value)
    assert (answer.status, answer.headers["x-opaque-id"]) == (200, value)


@pytest.mark.parametrize("names", ["no-such-index", "{index},no-such-index"])
def test_a_missing_index_is_named(stack: Stack, index: str, names: str) -> None:
    path = f"/{names.format(index=index)}/_search"
    direct = post(stack.described["elasticsearch"], path, PLAIN)
    fused = post(stack.described["gateway"], path, FUSED)
    assert (fused.status, fused.json()) == (404, direct.json())


@pytest.mark.parametrize(
    "lines", [["{}", NOT_JSON], [json.dumps({"query": {"match": {"semantic": "x"}}})], ["[]", '{"semantic":1}']]
)
def test_elasticsearch_reports_a_broken_multi_search_that_is_not_fused(
    stack: Stack, index: str, lines: list[str]
) -> None:
    body = "".join(f"{line}\n" for line in lines)
    direct, through = (
        post(stack.described[name], f"/{index}/_msearch", body, content_type="application/x-ndjson")
        for name in ("elasticsearch", "gateway")
    )
    assert (through.status, through.json()) == (direct.status, direct.json())
