"""Which searches count as expensive."""

from typing import Any

import pytest

from query.language.search_body import parse_search
from query.plan.cost import is_expensive, parts_of


def _levels(number: int) -> dict[str, Any]:
    levels: dict[str, Any] = {"max": {"field": "x"}}
    for _ in range(number):
        levels = {"filter": {"match_all": {}}, "aggs": {"a": levels}}
    return levels


def _hybrid(query: str = "wing", **options: Any) -> dict[str, Any]:
    return {"query": {"hybrid": {"query": query, **options}}}


def _rrf(window: int) -> dict[str, Any]:
    leg = {"standard": {"query": {"match": {"title": "wing"}}}}
    return {"rrf": {"retrievers": [leg, leg], "rank_window_size": window}}


EXPENSIVE: dict[str, dict[str, Any]] = {
    "a large page": {**_hybrid(), "size": 2000},
    "a deep page": {**_hybrid(), "from": 5000},
    "a large window": _hybrid(rank_window_size=5000),
    "a large window of a retriever": {"retriever": _rrf(5000)},
    "a large window inside": {"retriever": {"linear": {"retrievers": [{"retriever": _rrf(5000)}]}}},
    "many words": _hybrid(" ".join(f"w{number}" for number in range(2000))),
    "many words on lines": _hybrid("\n".join(f"w{number}" for number in range(9900))),
    "many words between commas": _hybrid(",".join(f"w{number}" for number in range(9900))),
    "a long text without spaces": _hybrid("混合搜索" * 5000),
    "a large window of one side": _hybrid(
        interleave={"a": {}, "b": {"rank_window_size": 5000}, "experiment": "windows"}
    ),
    "many words of a leg": {
        "retriever": {"rrf": {"retrievers": [{"standard": {"query": {"match": {"title": "wing " * 2000}}}}]}}
    },
    "many aggregations": {**_hybrid(), "aggs": {"a": _levels(400)}},
}
ORDINARY: dict[str, dict[str, Any]] = {
    "a short search": _hybrid(),
    "a window of 1,000": _hybrid(rank_window_size=1000),
    "some aggregations": {**_hybrid(), "aggs": {"a": _levels(20)}},
    "a filter on many ids": _hybrid(filter={"terms": {"owner": [f"user-{number}" for number in range(20_000)]}}),
    "a long point in time": {**_hybrid(), "pit": {"id": "x" * 20_000}},
    "a vector in hexadecimal digits": {
        "retriever": {"rrf": {"retrievers": [{"knn": {"field": "v", "query_vector": "0f" * 4096, "k": 5, "num_candidates": 9}}]}}
    },
    "a long vector": {
        "retriever": {"rrf": {"retrievers": [{"knn": {"field": "v", "query_vector": [0.5] * 4096, "k": 5, "num_candidates": 9}}]}}
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EXPENSIVE)
def test_expensive(name: str) -> None:
    assert is_expensive(parse_search(EXPENSIVE[name]), parts_of(EXPENSIVE[name]))


@pytest.mark.parametrize("name", ORDINARY)
def test_not_expensive(name: str) -> None:
    assert not is_expensive(parse_search(ORDINARY[name]), parts_of(ORDINARY[name]))
