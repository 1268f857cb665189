"""Generated requests are answered or rejected in Elasticsearch's shape, and never cause an internal error."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from esblend import exact_json
from tests.bodies import VALID, spoiled
from tests.conftest import Stack
from tests.real.test_gateway import JSON, send
from tests.real.test_hybrid import DOCUMENTS, INDEX, index  # noqa: F401

pytestmark = pytest.mark.usefixtures("index")


@pytest.fixture(scope="module")
def scratch(stack: Stack) -> Iterator[str]:
    name = "test-scratch"
    stack.es.indices.create(index=name, mappings={"properties": {"body": {"type": "text"}}})
    yield name
    stack.es.indices.delete(index=name)


schema = schemathesis.openapi.from_path(str(Path(__file__).parents[2] / "docs" / "openapi.yaml"))


@pytest.mark.parametrize("body", VALID, ids=lambda body: json.dumps(body)[:60])
def test_every_form_is_answered(stack: Stack, body: dict[str, Any]) -> None:
    answer = stack.gateway.search(index=INDEX, body=body)
    assert {hit["_id"] for hit in answer["hits"]["hits"]} <= set(DOCUMENTS)
    assert "esblend" not in answer or "degraded" not in answer["esblend"]


@given(spoiled())
def test_a_spoiled_search_is_answered_or_refused(stack: Stack, body: dict[str, Any]) -> None:
    status, _, raw = send(stack.described["gateway"], "POST", f"/{INDEX}/_search", exact_json.dumps(body), JSON)
    answer = json.loads(raw)
    if status == 200:
        assert "hits" in answer
        return
    assert 400 <= status < 500, answer
    assert answer["status"] == status
    assert answer["error"]["type"]
    assert answer["error"]["reason"]


@pytest.mark.parametrize("depth", [10, 300, 440])
def test_a_deep_search_is_answered_or_refused(stack: Stack, depth: int) -> None:
    query: dict[str, Any] = {"term": {"kind": {"value": "a", "_name": "named"}}}
    for _ in range(depth):
        query = {"bool": {"filter": query}}
    aggregation: dict[str, Any] = {"filter": {"match_all": {}}}
    for _ in range(depth):
        aggregation = {**aggregation, "aggs": {"a": aggregation}}
    legs = [{"standard": {"query": query}}, {"standard": {"query": {"match_all": {}}}}]
    bodies: list[dict[str, Any]] = [
        {"query": {"hybrid": {"query": "x", "filter": query}}}, {"query": {"hybrid": {"query": "x"}}, "aggs": {"a": aggregation}},
        {"query": {"bool": {"must": [{"semantic": {"query": "x"}}, query]}}, "highlight": {"fields": {"body": {}}}},
        {"retriever": {"rrf": {"retrievers": legs}}}, {"query": {"bool": {"must": [{"hybrid": {"query": "x"}}, query]}}},
    ]  # fmt: skip
    lines = []
    for body in bodies:
        raw = json.dumps(body).encode()
        status, _, answer = send(stack.described["gateway"], "POST", f"/{INDEX}/_search", raw, JSON)
        assert status in ((200,) if depth == 10 else (200, 400)), answer
        lines += [b"{}", raw, b"{}", b'{"query": {"hybrid": {"query": "x"}}}']
    headers = {**JSON, "content-type": "application/x-ndjson"}
    several = send(stack.described["gateway"], "POST", f"/{INDEX}/_msearch", b"\n".join(lines) + b"\n", headers)
    responses = json.loads(several[2])["responses"]
    assert [response["status"] for response in responses[1::2]] == [200] * len(bodies)
    assert {response["status"] for response in responses[::2]} <= {200, 400}


@schema.parametrize()
@settings(max_examples=settings().max_examples // 2)  # the many operations share their parameters and checks
def test_the_gateways_own_endpoints(case: schemathesis.Case, stack: Stack, scratch: str) -> None:
    """Every other request is about an index that exists."""
    if "index" in case.path_parameters and len(case.path_parameters["index"]) % 2:
        case.path_parameters["index"] = scratch
    fields = case.body.get("source_fields") if isinstance(case.body, dict) else None
    if isinstance(fields, list) and len(fields) % 2:
        case.body["source_fields"] = ["body"]
    checks = [not_a_server_error, response_schema_conformance, status_code_conformance]
    case.call_and_validate(base_url=stack.described["gateway"], checks=checks)
