"""Retriever trees: what is understood, and what is refused with which words."""

from typing import Any

import pytest

from esblend.errors import EsblendError
from query.language.retrievers import needs_esblend, parse_retriever
from query.language.tree import (
    DiversifyLeg,
    FieldsLeg,
    PinnedLeg,
    RerankLeg,
    RescorerLeg,
    StandardLeg,
    leaf_windows,
    leaves,
)

STANDARD = {"standard": {"query": {"match": {"body": "x"}}}}
RRF = {"rrf": {"retrievers": [STANDARD, STANDARD], "rank_window_size": 50}}


def test_every_kind_in_one_tree() -> None:
    tree = {"pinned": {"ids": ["a"], "retriever": {"diversify": {
        "type": "mmr", "field": "v", "lambda": 0.7, "retriever": {"text_similarity_reranker": {
            "field": "body", "inference_text": "x", "rank_window_size": 20, "retriever": {"rescorer": {
                "rescore": {"window_size": 30, "query": {"rescore_query": {"match_all": {}}, "score_mode": "max"}},
                "retriever": RRF,
            }},
        }},
    }}}}  # fmt: skip
    pinned = parse_retriever(tree)
    assert isinstance(pinned, PinnedLeg)
    assert isinstance(pinned.leg, DiversifyLeg)
    assert isinstance(pinned.leg.leg, RerankLeg)
    assert isinstance(pinned.leg.leg.leg, RescorerLeg)
    assert pinned.leg.leg.leg.rescorers[0].mode == "max"
    assert len(list(leaves(pinned))) == 2
    assert list(leaf_windows(pinned, 10)) == [50, 50]


def test_a_standard_leg_keeps_its_options() -> None:
    leg = parse_retriever({"standard": {"query": {"match_all": {}}, "sort": ["year"], "terminate_after": 5}})
    assert isinstance(leg, StandardLeg)
    assert leg.options == {"sort": ["year"], "terminate_after": 5}


def test_the_form_with_query_and_fields() -> None:
    leg = parse_retriever({"linear": {"query": "x", "fields": ["title^2", "esblend"], "normalizer": "minmax"}})
    assert leg == FieldsLeg("linear", "x", ("title^2", "esblend"), 10, "minmax", name="linear")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (RRF, True),
        (STANDARD, False),
        ({"rescorer": {"retriever": RRF}}, True),
        ({"rescorer": {"retriever": STANDARD}}, True),
        ({"rule": {"retriever": STANDARD}}, False),
        ({"pinned": {"retriever": STANDARD}}, True),
        ("rrf", False),
        (None, False),
    ],
)
def test_which_trees_are_esblends_to_answer(body: Any, expected: bool) -> None:
    assert needs_esblend(body) is expected


def nested(depth: int) -> dict[str, Any]:
    return STANDARD if depth == 0 else {"rrf": {"retrievers": [nested(depth - 1)]}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"rrf": {"retrievers": [STANDARD] * 33}}, "has 33 legs"),
        ({"rrf": {"retrievers": [{"rrf": {"retrievers": [STANDARD] * 11}}] * 3}}, "has 33 legs"),
        (nested(9), "nested more than 8 deep"),
        ({"rrf": {"retrievers": [STANDARD], "query": "x"}}, "cannot combine [retrievers] and [query]"),
        ({"linear": {"query": "x"}}, "[linear] [normalizer] must be provided"),
        ({"linear": {"retrievers": [{"retriever": STANDARD, "weight": -1}]}}, "[weight] must be non-negative"),
        ({"linear": {"retrievers": [{"retriever": STANDARD, "normalizer": "x"}]}}, "Unknown normalizer [x]"),
        ({"rrf": {"fields": ["a"]}}, "[rrf] [query] must be provided when [fields] is specified"),
        ({"rrf": {"query": ""}}, "[rrf] [query] cannot be empty"),
        ({"rrf": {}}, "[rrf] must provide [retrievers] or [query]"),
        ({"rrf": {"retrievers": [STANDARD], "x": 1}}, "[rrf] unknown field [x]"),
        ({"pinned": {"retriever": STANDARD, "ids": ["a", "b", "a"]}}, "duplicate id found in list: a"),
        ({"pinned": {"retriever": {}, "ids": ["a"]}}, "empty clause found"),
        ({"diversify": {"retriever": STANDARD, "field": "v", "lambda": 1}}, "Required [type]"),
        ({"diversify": {"retriever": STANDARD, "field": "v", "type": "mmr"}}, "must have a [lambda]"),
        ({"standard": {"search_after": [1]}}, "needs a [sort]"),
        ({"pinned": {"retriever": STANDARD}}, "Either 'ids' or 'docs' must be provided"),
        ({"pinned": {"retriever": STANDARD, "docs": ["a"]}}, "[docs] are objects"),
        ({"pinned": {"retriever": STANDARD, "ids": ["a"] * 101}}, "1 to 100 documents"),
        ({"diversify": {"retriever": STANDARD, "field": "v", "type": "other"}}, "Failed to build [diversify]"),
        ({"diversify": {"retriever": STANDARD, "type": "mmr", "lambda": 1, "field": "v", "size": 11}}, "cannot be greater than"),
        ({"text_similarity_reranker": {"retriever": STANDARD, "field": "body"}}, "reranker.inference_text]"),
        ({"rescorer": {"retriever": RRF, "rescore": {"script": {}}}}, "[rescore_query]"),
        ({"rescorer": {"retriever": RRF, "rescore": {"window_size": 51, "query": {"rescore_query": {}}}}}, "to be smaller than"),
        ({"rrf": {"retrievers": [{"magic": {}}]}}, "unknown retriever [magic]"),
        ({"rrf": {"retrievers": [RRF], "rank_window_size": 60}}, "sub retriever's rrf [rank_window_size: 50]"),
        ({"rrf": {"retrievers": [STANDARD], "rank_window_size": -1}}, "cannot be negative, found [-1]"),
        ({"rule": {"retriever": RRF, "match_criteria": {}, "ruleset_ids": ["a"]}}, "Elasticsearch executes [rule]"),
        ({"rescorer": {"retriever": RRF, "rescore": {"learning_to_rank": {}}}}, "rescorer [learning_to_rank] cannot follow"),
        ({"rescorer": {"retriever": STANDARD}}, "Required [rescore]"),
        ({"diversify": {}}, "Required [retriever, type, field]"),
        ({"diversify": {"retriever": STANDARD, "type": "mmr", "lambda": 2, "field": "v"}}, "The value provided was 2"),
        ({"pinned": {"retriever": {"standard": {}}, "ids": ["a"]}}, "Underlying query cannot be null for pinned retriever"),
        ({"pinned": {"retriever": {"standard": {"query": {"match_all": {}}, "sort": ["n"]}}, "ids": ["a"]}}, "sorting by score"),
        ({"text_similarity_reranker": {"retriever": STANDARD, "chunk_rescorer": {}}}, "chunk_rescorer] is not available"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(body: dict[str, Any], words: str) -> None:
    with pytest.raises(EsblendError) as caught:
        parse_retriever(body)
    assert words in caught.value.reason
    assert caught.value.status == 400


@pytest.mark.parametrize("k", [0, -1, 10_001, "x", None, [5], 2.5])
def test_a_k_that_is_not_a_count_is_refused(k: Any) -> None:
    body = {"knn": {"field": "v", "query_vector": [1.0], "k": k}}
    with pytest.raises(EsblendError, match=r"retriever\.knn\.k"):
        parse_retriever(body)


def test_a_single_value_is_a_list_as_in_elasticsearch() -> None:
    pairs = [
        ({"rrf": {"retrievers": STANDARD}}, {"rrf": {"retrievers": [STANDARD]}}),
        ({"rrf": {"query": "x", "fields": "title"}}, {"rrf": {"query": "x", "fields": ["title"]}}),
        ({"pinned": {"retriever": STANDARD, "ids": "a"}}, {"pinned": {"retriever": STANDARD, "ids": ["a"]}}),
        (
            {"pinned": {"retriever": STANDARD, "docs": {"_id": "a"}}},
            {"pinned": {"retriever": STANDARD, "docs": [{"_id": "a"}]}},
        ),
    ]
    for single, listed in pairs:
        assert parse_retriever(single) == parse_retriever(listed)
