"""`filter_path`, as Elasticsearch's documentation of response filtering describes it."""

import time
from typing import Any

import pytest

from query.gateway.filter_path import filtered

RESPONSE: dict[str, Any] = {
    "took": 3,
    "hits": {"total": {"value": 2}, "hits": [{"_id": "1", "_source": {"a.b": 1}}, {"_id": "2", "sort": [1]}]},
}


@pytest.mark.parametrize(
    ("filter_path", "expected"),
    [
        ("took", {"took": 3}),
        ("hits.total", {"hits": {"total": {"value": 2}}}),
        ("hits.hits._id", {"hits": {"hits": [{"_id": "1"}, {"_id": "2"}]}}),
        ("**._id", {"hits": {"hits": [{"_id": "1"}, {"_id": "2"}]}}),
        ("**.**._id", {"hits": {"hits": [{"_id": "1"}, {"_id": "2"}]}}),
        ("hits.h*._source.a\\.b", {"hits": {"hits": [{"_source": {"a.b": 1}}]}}),
        ("-hits.hits,-took", {"hits": {"total": {"value": 2}}}),
        ("hits.total,hits.hits,-**.sort,-**._source,-**._id", {"hits": {"total": {"value": 2}}}),
        ("absent", {}),
        ("**", RESPONSE),
    ],
)
def test_patterns_select_parts(filter_path: str, expected: dict[str, Any]) -> None:
    assert filtered(RESPONSE, filter_path) == expected


def test_hostile_patterns_cost_no_more_than_their_length() -> None:
    """A backtracking matcher needs more than 10^30 steps here, so that the bound does not depend on the machine."""
    deep: Any = 1
    for _ in range(200):
        deep = {"a" * 60: deep}
    began = time.process_time()
    filtered(deep, ",".join(["*a" * 30 + "b", "**." * 40 + "b", "-" + "**.*a*." * 20 + "b"]))
    assert time.process_time() - began < 20
