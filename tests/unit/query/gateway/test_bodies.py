"""Bodies that are not JSON: a fused search is refused with the reason, and any other is Elasticsearch's."""

from typing import Any

import pytest

from esblend.errors import MalformedRequest
from query.gateway.bodies import parse_extended_body

SCOPE: dict[str, Any] = {"headers": [(b"content-type", b"application/json")]}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"query": {"hybrid": {"query": "x", "min_score": NaN}}}',
        b'{"retriever" : {"rrf": {"rank_constant": Infinity}}}',
        b'{"query": {"hybrid": {"query": "x"}}',
    ],
)
def test_a_fused_search_that_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedRequest, match="the body is not JSON: "):
        parse_extended_body(raw, SCOPE)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"query": {"match": {"hybrid": {"query": "x"}}}} // a comment, which Elasticsearch accepts',
        b'{"query": {"knn": {"field": "v", "query_vector": [NaN]}}}',
    ],
)
def test_any_other_body_goes_to_elasticsearch(raw: bytes) -> None:
    assert parse_extended_body(raw, SCOPE) is None
