"""Explanations have Elasticsearch's shape: values, positions and names of legs, and the words that clients match on."""

import pytest

from query.fusion.linear import linear_fusion
from query.fusion.ranked_lists import FusedHit, Key, LegContribution, Method, RankedLeg
from query.fusion.rrf import reciprocal_rank_fusion
from query.page.explanation import FromServer, contributions, explanation, nearest_document

A, B, C = (Key("i", name) for name in "abc")
FIRST, SECOND = {A: 4.0, B: 2.0}, {B: 0.75, C: 0.5}


def fused(hits: list[FusedHit], key: Key) -> FusedHit:
    return next(hit for hit in hits if hit.key == key)


def test_rrf_shows_the_rank_in_each_leg() -> None:
    legs = [RankedLeg("standard", FIRST), RankedLeg("mine", SECOND, dot=lambda score: 2 * score - 1)]
    tree = explanation(fused(reciprocal_rank_fusion(legs, 10), B))
    assert tree["value"] == pytest.approx(1 / 12 + 1 / 11)
    assert "computed for initial ranks [2, 1] with rankConstant: [10]" in tree["description"]
    first, second = tree["details"]
    assert (first["value"], second["value"]) == (2, 1)
    assert "for rank [2] in query at index [0] computed as [1 / (2 + 10)]" in first["description"]
    assert "for rank [1] in query at index [1] [mine] computed as" in second["description"]
    assert first["details"] == [{"value": 2.0, "description": "score of the query", "details": []}]
    assert {"value": 0.5, "description": "dot product", "details": []} in second["details"]


def test_rrf_says_which_leg_lacks_the_document() -> None:
    legs = [RankedLeg("standard", FIRST), RankedLeg("mine", SECOND)]
    tree = explanation(fused(reciprocal_rank_fusion(legs, 10), A))
    assert "initial ranks [1, 0]" in tree["description"]
    assert tree["details"][1] == {
        "value": 0.0, "description": "rrf score: [0], result not found in query at index [1] [mine]", "details": []
    }  # fmt: skip


def test_rrf_shows_weights_where_there_are_any() -> None:
    legs = [RankedLeg("standard", FIRST, 2.0), RankedLeg("knn", SECOND)]
    tree = explanation(fused(reciprocal_rank_fusion(legs, 10), B))
    assert "sum of [weight / (rank + rankConstant)]" in tree["description"]
    assert "computed as [2.0 / (2 + 10)]" in tree["details"][0]["description"]


def test_linear_shows_the_weighted_score_of_each_leg() -> None:
    legs = [RankedLeg("standard", FIRST, 3.0, "minmax"), RankedLeg("knn", SECOND, 2.0, "none")]
    tree = explanation(fused(linear_fusion(legs), A))
    assert tree["value"] == 3.0
    assert tree["description"] == (
        "weighted linear combination score: [3.0] computed for normalized scores [1.0, 0.0] and weights [3.0, 2.0] "
        "as sum of (weight[i] * score[i]) for each query."
    )
    first, second = tree["details"]
    assert first["value"] == 3.0
    assert first["description"].startswith(
        "weighted score: [3.0] in query at index [0] computed as [3.0 * 1.0] using score normalizer [minmax]"
    )
    assert first["details"][0]["value"] == 4.0
    assert second["description"] == "weighted score: [0], result not found in query at index [1]"


def test_an_inner_fusion_is_the_source_of_its_legs_score() -> None:
    inner = reciprocal_rank_fusion([RankedLeg("standard", FIRST)], 10)
    outer = linear_fusion(
        [RankedLeg("rrf", {hit.key: hit.score for hit in inner}, inner={hit.key: hit for hit in inner}.get)]
    )
    [leg] = explanation(fused(outer, B))["details"]
    [source] = leg["details"]
    assert source["description"].startswith("rrf score: [")
    assert source["details"][0]["value"] == 2


def test_a_normalised_score_of_0_reads_as_in_elasticsearch_and_keeps_its_source() -> None:
    inner = {hit.key: hit for hit in reciprocal_rank_fusion([RankedLeg("standard", FIRST)], 10)}
    scores = {key: hit.score for key, hit in inner.items()}
    [leg] = explanation(fused(linear_fusion([RankedLeg("mine", scores, 2.0, "minmax", inner=inner.get)]), B))["details"]
    assert (leg["value"], leg["description"]) == (
        0.0,
        "weighted score: [0], result not found in query at index [0] [mine]",
    )
    assert leg["details"][0]["description"].startswith("rrf score: [")


def test_a_nearest_document_has_elasticsearchs_two_levels() -> None:
    given = {"value": 0.75, "description": "within top k documents", "details": []}
    tree = nearest_document(3, 0.75, 2, given)
    assert (tree["value"], tree["description"]) == (
        2, "doc [3] with an original score of [0.75] is at rank [2] from the following source queries."
    )  # fmt: skip
    [detail] = tree["details"]
    assert (detail["value"], detail["description"]) == (0.75, "found vector with calculated similarity: 0.75")
    assert detail["details"] == [given]


def test_a_pinned_document_is_named_by_lucenes_number() -> None:
    hit = FusedHit(A, 1.7014124e38, (), Method("pinned"))
    for server, name in ((FromServer(numbers={A: 0}), "0"), (FromServer(), "a")):
        [document] = explanation(hit, 1, server)["details"]
        assert document["description"] == (
            f"doc [{name}] with an original score of [1.7014124E38] is at rank [1] from the following source queries."
        )


def test_the_fields_have_what_the_text_says() -> None:
    legs = [
        RankedLeg("standard", FIRST, 3.0, "minmax"),
        RankedLeg("knn", SECOND, 2.0, "none", lambda score: 2 * score - 1),
    ]
    assert contributions(fused(linear_fusion(legs), B)) == {
        "_index": "i", "_id": "b", "score": 1.5, "method": "linear", "legs": [
            {"leg": "standard", "contribution": 0.0, "weight": 3.0, "normalized": 0.0, "rank": 2, "score": 2.0,
             "normalizer": "minmax"},
            {"leg": "knn", "contribution": 1.5, "weight": 2.0, "normalized": 0.75, "rank": 1, "score": 0.75, "dot_product": 0.5,
             "normalizer": "none"},
        ],
    }  # fmt: skip


def test_a_changed_score_shows_its_rank_and_what_it_was_made_of() -> None:
    [first, *_] = reciprocal_rank_fusion([RankedLeg("standard", FIRST)], 10)
    parts = (
        LegContribution("first stage", 1.0, None, first.score, first.score, first.score, inner=first),
        LegContribution("rescorer (total)", 2.0, None, 0.5, 0.5, 1.0),
    )
    tree = explanation(FusedHit(A, first.score + 1.0, parts, Method("rescorer", "total")), 4)
    assert (tree["value"], "is at rank [4]" in tree["description"]) == (4, True)
    assert sum(part["value"] for part in tree["details"]) == pytest.approx(first.score + 1.0)
    assert tree["details"][0]["description"].startswith("rrf score: [")
