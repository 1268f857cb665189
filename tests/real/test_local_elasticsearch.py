"""docs/local-elasticsearch.md names what the local Elasticsearch lacks."""

import re
from typing import Any

import pytest
from elasticsearch import ApiError

from tests.conftest import ROOT, Stack

PAGE = (ROOT / "docs" / "local-elasticsearch.md").read_text()
MISSING = [row.split("|")[1] for row in PAGE.splitlines() if row.startswith("| `") and "8.14" not in row]
FIELD_TYPES = (
    "rank_feature", "search_as_you_type", "scaled_float", "constant_keyword", "wildcard", "percolator", "geo_shape"
)  # fmt: skip
REQUESTS: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/_search/template", {"source": "{}"}),
    ("POST", "/_async_search", {}),
    ("POST", "/_query", {"query": "ROW a = 1"}),
    ("POST", "/_sql", {"query": "SELECT 1"}),
    ("POST", "/x/_eql/search", {"query": "any where true"}),
    ("POST", "/_rank_eval", {"requests": []}),
    ("PUT", "/_data_stream/test-stream", None),
    ("GET", "/_ilm/policy", None),
    ("GET", "/_ml/trained_models", None),
    ("POST", "/_search", {"retriever": {"rrf": {"retrievers": [{"standard": {}}, {"standard": {}}]}}}),
    ("POST", "/_search", {"retriever": {"linear": {"retrievers": [{"retriever": {"standard": {}}}]}}}),
    ("POST", "/_search", {"retriever": {"pinned": {"ids": ["1"], "retriever": {"standard": {}}}}}),
)


def test_the_modules_that_it_lacks(stack: Stack) -> None:
    [node] = stack.es.nodes.info(metric="plugins")["nodes"].values()
    present = {module["name"] for module in node["modules"]}
    named = {name for cell in MISSING for name in re.findall(r"`([^`]+)`", cell)}
    assert len(named) > 10
    assert not named & present
    assert "ingest-common" in present


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS, ids=lambda value: str(value)[:40])
def test_the_requests_that_it_rejects(stack: Stack, method: str, path: str, body: Any) -> None:
    headers = {"accept": "application/json", "content-type": "application/json"}
    with pytest.raises(ApiError) as rejected:
        stack.es.perform_request(method, path, headers=headers, body=body)
    assert rejected.value.meta.status in (400, 404, 405)


@pytest.mark.parametrize("kind", FIELD_TYPES)
def test_the_field_types_that_it_lacks(stack: Stack, index_name: str, kind: str) -> None:
    assert f"`{kind}`" in PAGE
    with pytest.raises(ApiError, match=r"does not exist|No handler for type"):
        stack.es.indices.create(index=index_name, mappings={"properties": {"a": {"type": kind}}})
