"""OpenSearch's clauses, as people coming over send them."""

from typing import Any

import pytest

from esblend.errors import EsblendError
from query.language.opensearch import parse_hybrid, translate_neural
from query.language.tree import KnnLeg, LinearLeg, RrfLeg, StandardLeg

MATCH = {"match": {"body": "x"}}


def neural() -> dict[str, Any]:
    return {"neural": {"body": {"query_text": "meaning", "model_id": "m", "k": 7}}}


def pipeline(kind: str, **settings: Any) -> dict[str, Any]:
    return {"phase_results_processors": [{kind: settings}]}


def test_defaults_are_opensearchs() -> None:
    leg = parse_hybrid({"queries": [dict(MATCH), neural()]}, None, page_end=10)
    assert isinstance(leg, LinearLeg)
    assert leg.combination == "arithmetic_mean"
    assert [(weighted.weight, weighted.normalizer) for weighted in leg.legs] == [
        (0.5, "opensearch_min_max"),
        (0.5, "opensearch_min_max"),
    ]
    lexical, semantic = (weighted.leg for weighted in leg.legs)
    assert lexical == StandardLeg(MATCH, name="match")
    assert isinstance(semantic, KnnLeg)
    assert semantic.section["field"] == "body"
    assert semantic.section["query_vector_builder"] == {"text_embedding": {"model_text": "meaning"}}


def test_a_normalization_pipeline_in_the_request() -> None:
    given = pipeline(
        "normalization-processor",
        normalization={"technique": "l2"},
        combination={"technique": "harmonic_mean", "parameters": {"weights": [0.3, 0.7]}},
    )
    leg = parse_hybrid(
        {"queries": [dict(MATCH), dict(MATCH)], "pagination_depth": 40, "filter": {"term": {"a": 1}}},
        given,
        page_end=10,
    )
    assert isinstance(leg, LinearLeg)
    assert (leg.combination, leg.window) == ("harmonic_mean", 40)
    assert [(weighted.weight, weighted.normalizer) for weighted in leg.legs] == [(0.3, "l2_norm"), (0.7, "l2_norm")]
    assert leg.legs[0].leg == StandardLeg(MATCH, ({"term": {"a": 1}},), name="match")


def test_a_score_ranker_pipeline() -> None:
    given = pipeline("score-ranker-processor", combination={"technique": "rrf", "rank_constant": 20})
    leg = parse_hybrid({"queries": [dict(MATCH)]}, given, page_end=10)
    assert isinstance(leg, RrfLeg)
    assert leg.rank_constant == 20


def test_a_vector_in_opensearchs_form() -> None:
    leg = parse_hybrid(
        {"queries": [{"knn": {"v": {"vector": [1.0, 0.0], "k": 3, "filter": MATCH}}}]}, None, page_end=10
    )
    assert isinstance(leg, LinearLeg)
    knn = leg.legs[0].leg
    assert isinstance(knn, KnnLeg)
    assert knn.section == {"field": "v", "query_vector": [1.0, 0.0], "k": 3, "num_candidates": 100}
    assert knn.filters == (MATCH,)


def test_neural_clauses_anywhere_else_become_semantic_ones() -> None:
    body = {"query": {"bool": {"must": [neural()], "filter": [{"term": {"a": 1}}]}}}
    translate_neural(body)
    assert body["query"]["bool"]["must"] == [{"semantic": {"query": "meaning", "field": "body", "k": 7}}]


def test_legs_of_a_hybrid_stay() -> None:
    body = {"query": {"hybrid": {"queries": [neural()]}}}
    translate_neural(body)
    assert body["query"]["hybrid"]["queries"] == [neural()]


@pytest.mark.parametrize(
    ("body", "given", "words"),
    [
        ({"queries": []}, None, "1 to 5 queries"),
        ({"queries": [MATCH] * 6}, None, "1 to 5 queries"),
        ({"queries": [MATCH]}, "my-pipeline", "must be an object in the request"),
        ({"queries": [MATCH]}, pipeline("other"), "executes only normalization-processor"),
        ({"queries": [MATCH]}, pipeline("normalization-processor", normalization={"technique": "log"}), "known: min_max"),
        ({"queries": [MATCH]}, pipeline("normalization-processor", combination={"parameters": {"weights": [1, 2]}}), "list of 1"),
        ({"queries": ["x"]}, None, "[hybrid.queries[0]] must be a query"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(body: dict[str, Any], given: Any, words: str) -> None:
    with pytest.raises(EsblendError) as caught:
        parse_hybrid(body, given, page_end=10)
    assert words in caught.value.reason
