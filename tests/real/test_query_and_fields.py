"""Retrievers over several indices, and `rrf` and `linear` in the form with `query` and `fields`."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Stack
from tests.real.retriever_indices import (
    FLAT,
    LEG_X,
    LEG_Y,
    PASSAGES,
    PLAIN,
    TEXTS,
    ids,
    ids_and_scores,
    search,
)
from tests.real.retriever_indices import retriever_indices as _indices  # noqa: F401  the fixture

pytestmark = pytest.mark.usefixtures("_indices")


@pytest.mark.parametrize("kind", ["rrf", "linear"])
def test_query_and_fields_are_lexical_where_nothing_is_attached(stack: Stack, kind: str) -> None:
    options = {"normalizer": "minmax"} if kind == "linear" else {}
    for fields in (["b"], ["b^2", "title"], ["t*", "b"], ["*"], None):
        given = {} if fields is None else {"fields": fields}
        response = search(stack.gateway, retriever={kind: {"query": "x", **given, **options}})
        direct = search(stack.es, query={"multi_match": {"query": "x", "type": "most_fields", **given}})
        assert ids(response) == ids(direct)
        assert response["hits"]["total"] == direct["hits"]["total"]
        assert "degraded" not in response.get("esblend", {})


@pytest.mark.parametrize("tree", [
    {"rrf": {"query": "x", "fields": ["b"]}}, {"rrf": {"retrievers": [LEG_X, LEG_Y]}},
    {"linear": {"query": "x", "fields": ["b"], "normalizer": "minmax"}},
])  # fmt: skip
def test_a_pattern_that_matches_no_index_finds_nothing(stack: Stack, tree: dict[str, Any]) -> None:
    response = search(stack.gateway, "absent-*", retriever=tree)
    assert response["hits"]["hits"] == []
    assert response["hits"]["total"]["value"] == 0


def test_query_and_fields_over_a_list_with_an_unattached_index(stack: Stack) -> None:
    tree = {"rrf": {"query": "blue ocean", "fields": ["title", "esblend"], "rank_window_size": 50}}
    response = search(stack.gateway, f"{PASSAGES},{PLAIN}", retriever=tree)
    assert response["_shards"]["failed"] == 0
    indices = {hit["_index"] for hit in response["hits"]["hits"]}
    assert PASSAGES in indices
    deep = {"rrf": {"query": "deep", "fields": ["title", "esblend"], "rank_window_size": 50}}
    assert {hit["_index"] for hit in search(stack.gateway, f"{PASSAGES},{PLAIN}", retriever=deep)["hits"]["hits"]} == {
        PASSAGES,
        PLAIN,
    }


def test_query_and_fields_over_several_attachments(stack: Stack) -> None:
    """Elasticsearch builds separate legs for each index."""
    tree = {"rrf": {"query": "ocean", "fields": ["title", "esblend"], "rank_window_size": 20}}
    response = search(stack.gateway, f"{PASSAGES},{FLAT}", retriever=tree, explain=True)
    assert response["_shards"]["failed"] == 0
    assert {hit["_index"] for hit in response["hits"]["hits"]} == {PASSAGES, FLAT}
    legs = [leg["leg"] for leg in response["esblend"]["explanations"][0]["legs"]]
    assert legs == ["lexical", "semantic"] * 2
    for hit in response["esblend"]["explanations"]:
        ranked = [position for position, leg in enumerate(hit["legs"]) if "rank" in leg]
        assert set(ranked) <= ({0, 1} if hit["_index"] == PASSAGES else {2, 3}) or set(ranked) <= (
            {2, 3} if hit["_index"] == PASSAGES else {0, 1}
        )


def test_a_pattern_includes_the_semantic_field(stack: Stack) -> None:
    body = {"rrf": {"query": "ocean", "rank_window_size": 20}}
    named = search(stack.gateway, PASSAGES, retriever={"rrf": {**body["rrf"], "fields": ["title", "esblend"]}})
    pattern = search(stack.gateway, PASSAGES, retriever={"rrf": {**body["rrf"], "fields": ["*"]}})
    assert len(named["hits"]["hits"]) == len(TEXTS)
    assert ids_and_scores(pattern) == ids_and_scores(named)


@pytest.mark.parametrize(("normalizer", "changes"), [("minmax", False), ("none", True)])
def test_the_boost_of_the_semantic_field_counts_where_nothing_is_normalised(
    stack: Stack, normalizer: str, changes: bool
) -> None:
    plain, boosted = (
        search(
            stack.gateway,
            PASSAGES,
            retriever={"linear": {"query": "ocean", "fields": ["title", field], "normalizer": normalizer}},
        )
        for field in ("esblend", "esblend^3")
    )
    assert (ids_and_scores(plain) != ids_and_scores(boosted)) == changes


def test_the_legs_of_several_attachments_go_to_their_own_indices(stack: Stack) -> None:
    response = search(stack.gateway, f"{PASSAGES},{FLAT}", query={"hybrid": {"query": "ocean"}}, profile=True, size=20)
    assert response["_shards"]["failed"] == 0
    assert "degraded" not in response["esblend"]
    assert len(response["hits"]["hits"]) == 2 * len(TEXTS)
    legs = [step for step in response["esblend"]["profile"]["steps"] if step["step"] == "legs"]
    assert len(legs) == 2
    pit = stack.gateway.open_point_in_time(index=f"{PASSAGES},{FLAT}", keep_alive="1m")["id"]
    through_pit = dict(
        stack.gateway.search(body={"query": {"hybrid": {"query": "ocean"}}, "pit": {"id": pit}, "size": 20}).body
    )
    assert through_pit["_shards"]["failed"] == 0
    assert len(through_pit["hits"]["hits"]) == 2 * len(TEXTS)


def test_models_with_vectors_of_other_lengths_are_searched_together(
    stack: Stack, make_index: Callable[..., str]
) -> None:
    """A vector of one model on the shards of the other would be an error of these shards."""
    index = make_index(*({"title": text} for text in TEXTS))
    stack.attach(index, "title", model="hashing:64")
    stack.wait(index)
    pit = stack.gateway.open_point_in_time(index=f"{PASSAGES},{index}", keep_alive="1m")["id"]
    for query in ({"hybrid": {"query": "sea"}}, {"hybrid": {"query": "sea", "blending": "windowed"}}):
        for body in ({"query": query, "size": 20}, {"query": query, "size": 20, "pit": {"id": pit}}):
            where = {} if "pit" in body else {"index": f"{PASSAGES},{index}"}
            response = dict(stack.gateway.search(**where, body=body).body)
            assert response["_shards"]["failed"] == 0
            assert "esblend" not in response
            assert len(response["hits"]["hits"]) == 2 * len(TEXTS)
    tree = {"rrf": {"query": "sea", "fields": ["title", "esblend"], "rank_window_size": 20}}
    fused = search(stack.gateway, f"{PASSAGES},{index}", retriever=tree)
    assert fused["_shards"]["failed"] == 0
    assert len(fused["hits"]["hits"]) == 2 * len(TEXTS)


def test_a_knn_leg_goes_to_the_indices_that_have_its_field(stack: Stack) -> None:
    leg = {"knn": {"field": "esblend", "query_vector_builder": {"text_embedding": {"model_text": "ocean"}}}}
    response = search(stack.gateway, f"{PASSAGES},{PLAIN}", retriever={"rrf": {"retrievers": [leg, LEG_X]}})
    assert response["_shards"]["failed"] == 0
    assert {hit["_index"] for hit in response["hits"]["hits"]} == {PASSAGES, PLAIN}
    [reason] = response["esblend"]["degraded"]
    assert f"index [{PLAIN}] is not attached" in reason
