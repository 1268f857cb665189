"""Search bodies: what is understood, and what is refused with which words."""

from typing import Any

import pytest

from esblend.errors import EsblendError
from query.language.search_body import fuses_legs, parse_search
from query.language.tree import Hybrid, KnnLeg, LinearLeg, RrfLeg, StandardLeg

MATCH = {"match": {"body": "x"}}
KNN = {"knn": {"field": "v", "query_vector": [1.0], "k": 5, "num_candidates": 10}}


def rrf(**options: Any) -> dict[str, Any]:
    return {"retriever": {"rrf": {"retrievers": [{"standard": {"query": MATCH}}, KNN], **options}}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"query": {"hybrid": {"query": "x"}}}, True),
        ({"query": {"hybrid": {"queries": [MATCH]}}}, True),
        (rrf(), True),
        ({"retriever": {"linear": {}}}, True),
        ({"retriever": {"standard": {"query": MATCH}}}, False),
        ({"query": MATCH}, False),
        ({"query": {"term": {"hybrid": "yes"}}}, False),
        ([], False),
    ],
)
def test_what_is_esblends_to_answer(body: Any, expected: bool) -> None:
    assert fuses_legs(body) is expected


def test_hybrid_defaults() -> None:
    search = parse_search({"query": {"hybrid": {"query": "x"}}})
    assert search.ranking == Hybrid(("x",))
    assert (search.size, search.start, search.track_total_hits) == (10, 0, 10_000)


def test_a_retriever_tree() -> None:
    ranking = parse_search(rrf(rank_constant=20, rank_window_size=50, filter={"term": {"kind": "a"}})).ranking
    assert isinstance(ranking, RrfLeg)
    assert (ranking.rank_constant, ranking.window) == (20, 50)
    standard, knn = (weighted.leg for weighted in ranking.legs)
    assert standard == StandardLeg(MATCH, ({"term": {"kind": "a"}},))
    assert isinstance(knn, KnnLeg)
    assert knn.filters == ({"term": {"kind": "a"}},)


def test_weights_of_rrf_legs() -> None:
    legs = [{"retriever": {"standard": {"query": MATCH}}, "weight": 3}, KNN]
    ranking = parse_search({"retriever": {"rrf": {"retrievers": legs}}}).ranking
    assert isinstance(ranking, RrfLeg)
    assert [weighted.weight for weighted in ranking.legs] == [3.0, 1.0]


def test_linear_normalizers_per_leg_and_above() -> None:
    legs = [{"retriever": {"standard": {"query": MATCH}}, "weight": 2, "normalizer": "l2_norm"}, {"retriever": KNN}]
    ranking = parse_search({"retriever": {"linear": {"retrievers": legs}}}).ranking
    assert isinstance(ranking, LinearLeg)
    assert [(weighted.weight, weighted.normalizer) for weighted in ranking.legs] == [(2.0, "l2_norm"), (1.0, "none")]
    ranking = parse_search({"retriever": {"linear": {"retrievers": legs, "normalizer": "l2_norm"}}}).ranking
    assert isinstance(ranking, LinearLeg)
    assert [(weighted.weight, weighted.normalizer) for weighted in ranking.legs] == [(2.0, "l2_norm"), (1.0, "l2_norm")]


HYBRID: dict[str, Any] = {"query": {"hybrid": {"query": "x"}}}
REFUSED = {
    "an unknown key of hybrid": ({"query": {"hybrid": {"query": "x", "aplha": 1}}}, "aplha"),
    "no query text": ({"query": {"hybrid": {"query": " "}}}, "query"),
    "a query that is no text": ({"query": {"hybrid": {"query": ["x", 3]}}}, "query"),
    "alpha above one": ({"query": {"hybrid": {"query": "x", "alpha": 1.5}}}, "alpha"),
    "alpha that is no number": ({"query": {"hybrid": {"query": "x", "alpha": True}}}, "alpha"),
    "an unknown fusion": ({"query": {"hybrid": {"query": "x", "fusion": "magic"}}}, "magic"),
    "a normalizer beside rrf": (
        {"query": {"hybrid": {"query": "x", "fusion": "rrf", "normalizer": "max"}}},
        "normalizer",
    ),
    "a window smaller than the page": (
        {"size": 20, "query": {"hybrid": {"query": "x", "rank_window_size": 10}}},
        "rank_window_size",
    ),
    "hybrid beside another clause": ({"query": {"hybrid": {"query": "x"}, "match": {}}}, "only clause"),
    "a key that cannot be combined": ({**HYBRID, "rescore": {}}, "rescore"),
    "query beside retriever": ({**HYBRID, **rrf()}, "cannot specify [retriever] and [query]"),
    "size below zero": ({**HYBRID, "size": -1}, "size"),
    "a page too deep": ({**HYBRID, "from": 9_999, "size": 10}, "10000"),
    "both names of aggregations": ({**HYBRID, "aggs": {}, "aggregations": {}}, "aggs"),
    "no retrievers": ({"retriever": {"rrf": {"retrievers": []}}}, "retrievers"),
    "an unknown key of rrf": (rrf(window=3), "window"),
    "a negative weight": ({"retriever": {"rrf": {"retrievers": [{"retriever": KNN, "weight": -1}]}}}, "weight"),
    "an unknown normalizer": (
        {"retriever": {"linear": {"retrievers": [{"retriever": KNN, "normalizer": "x"}]}}},
        "normalizer",
    ),
    "a retriever of another kind": ({"retriever": {"rrf": {"retrievers": [{"pinned": {}}]}}}, "pinned"),
    "a knn leg without a vector": ({"retriever": {"rrf": {"retrievers": [{"knn": {"field": "v"}}]}}}, "query_vector"),
    "window below size": ({"size": 20, **rrf(rank_window_size=10)}, "rank_window_size: 10"),
    "too many legs": ({"retriever": {"rrf": {"retrievers": [KNN] * 40}}}, "40 legs"),
    "a filter that is no query": ({"query": {"hybrid": {"query": "x", "filter": "y"}}}, "filter"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_name_of_the_fault(case: str) -> None:
    body, word = REFUSED[case]
    with pytest.raises(EsblendError) as caught:
        parse_search(body)
    assert caught.value.status == 400
    assert word in caught.value.reason


def test_retrievers_nested_too_deep_are_refused() -> None:
    tree: dict[str, Any] = {"standard": {"query": MATCH}}
    for _ in range(20):
        tree = {"rrf": {"retrievers": [tree]}}
    with pytest.raises(EsblendError, match="nested"):
        parse_search({"retriever": tree})


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ({}, ()),
        ([{}], ()),
        ({"n": "desc", "f": "asc"}, ("n", "f")),
        (["n", {"f": "asc", "_score": "desc"}], ("n", "f", "_score")),
    ],
)
def test_an_object_of_a_sort_has_any_number_of_fields(given: Any, keys: tuple[str, ...]) -> None:
    search = parse_search({"query": {"hybrid": {"query": "wing"}}, "sort": given})
    assert search.sort_keys == keys


@pytest.mark.parametrize(
    ("given", "kind", "reason"),
    [
        ({"search_after": [], "sort": ["n"]}, "illegal_argument_exception", "at least one value"),
        ({"search_after": [1], "sort": ["n"], "from": 1}, "action_request_validation_exception", "must be set to 0"),
        ({"collapse": {}}, "illegal_argument_exception", "must name a field"),
        ({"collapse": {"field": "n", "inner_hits": "x"}}, "parsing_exception", "must be an object"),
        ({"collapse": {"field": "n", "inner_hits": ["x"]}}, "parsing_exception", "must be an object"),
    ],
)
def test_empty_or_contradictory_pages_are_refused(given: dict[str, Any], kind: str, reason: str) -> None:
    with pytest.raises(EsblendError, match=reason) as refused:
        parse_search({"query": {"hybrid": {"query": "wing"}}, **given})
    assert refused.value.type == kind
