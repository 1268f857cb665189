"""What stands around a fusion: rescoring, pins, diversity; each by hand-computed numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esblend.errors import InvalidRequest
from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import DiversifyLeg, Rescorer, StandardLeg
from query.run.diversify import diversified, inner_product_score
from query.run.pin import MAX_ORGANIC_SCORE, pin
from query.run.rescore import rescored
from query.run.tree_fusion import ranked_leaf

A, B, C = (Key("i", id_) for id_ in "abc")
LEAF = StandardLeg({"match_all": {}})


def scores(fused: list[FusedHit]) -> dict[str, float]:
    return {hit.key.id: hit.score for hit in fused}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("total", {"b": 2 * 1.0 + 3 * 2.0, "a": 4.0}),
        ("multiply", {"b": (2 * 1.0) * (3 * 2.0), "a": 4.0}),
        ("avg", {"a": 4.0, "b": (2 * 1.0 + 3 * 2.0) / 2}),
        ("max", {"b": 6.0, "a": 4.0}),
        ("min", {"a": 4.0, "b": 2.0}),
    ],
)
def test_a_rescorer_by_hand(mode: str, expected: dict[str, float]) -> None:
    rescorer = Rescorer({"match_all": {}}, 10, original_weight=2.0, rescore_weight=3.0, mode=mode)
    fused = rescored("rescorer", rescorer, ranked_leaf("x", {A: 2.0, B: 1.0}), {B: 2.0})
    assert scores(fused) == expected
    assert [hit.score for hit in fused] == sorted(expected.values(), reverse=True)


def test_pins_stand_above_in_their_order_and_once() -> None:
    fused = pin("pinned", [C, B], ranked_leaf("x", {A: 2.5, B: 1.0}))
    assert scores(fused)["a"] == 2.5
    assert scores(fused)["c"] > scores(fused)["b"] > MAX_ORGANIC_SCORE
    assert [hit.key for hit in fused] == [C, B, A]


def test_diversity_by_hand() -> None:
    leg = DiversifyLeg(LEAF, "v", window=3, size=3, relevance=0.5)
    vectors = {A: np.array([[1.0, 0.0]]), B: np.array([[1.0, 0.0]]), C: np.array([[0.0, 1.0]])}
    ranked = ranked_leaf("x", {A: 3.0, B: 2.0, C: 1.0})
    # After a: b is as similar as a vector to itself, dot product 1, score 2; c has the dot product 0, score 1.
    assert scores(diversified(replace(leg, size=2), ranked, vectors, None)) == {"a": 3.0, "c": 1.0}
    # The selected documents keep their order and scores.
    assert [hit.key for hit in diversified(leg, ranked, vectors, None)] == [A, B, C]


def test_a_document_without_a_vector_is_not_selected() -> None:
    leg = DiversifyLeg(LEAF, "v", window=3, size=3, relevance=0.5)
    vectors = {B: np.array([[1.0, 0.0]], dtype=np.float32)}
    ranked = ranked_leaf("x", {A: 3.0, B: 2.0, C: 1.0})
    assert [hit.key for hit in diversified(leg, ranked, vectors, None)] == [B]
    query = np.array([1.0, 0.0], dtype=np.float32)
    assert [hit.key for hit in diversified(leg, ranked, vectors, query)] == [B]


def test_a_query_vector_of_other_dimensions_is_refused() -> None:
    leg = DiversifyLeg(LEAF, "v", window=3, size=3, relevance=0.5)
    with pytest.raises(InvalidRequest, match="dimensions differ: 2!=3"):
        diversified(leg, ranked_leaf("x", {A: 1.0}), {A: np.ones((1, 2))}, np.ones(3, dtype=np.float32))


def test_similarity_is_the_score_of_an_inner_product() -> None:
    assert inner_product_score(np.array([2.0, 0.0, -1.0])).tolist() == [3.0, 1.0, 0.5]


def test_relevance_by_a_query_vector() -> None:
    leg = DiversifyLeg(LEAF, "v", window=3, size=1, relevance=1.0)
    vectors = {A: np.array([[1.0, 0.0]]), C: np.array([[0.0, 2.0]])}
    fused = diversified(leg, ranked_leaf("x", {A: 3.0, C: 1.0}), vectors, np.array([0.0, 1.0], dtype=np.float32))
    assert scores(fused) == {"c": 1.0}


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 10), min_size=1), st.integers(1, 8))
def test_with_all_weight_on_relevance_the_most_similar_to_the_query_are_selected(
    scores: dict[str, float], size: int
) -> None:
    ranked = dict(sorted(((Key("i", id_), score) for id_, score in scores.items()), key=lambda pair: -pair[1]))
    vectors = {key: np.array([[1.0, float(number)]], dtype=np.float32) for number, key in enumerate(ranked)}
    leg = DiversifyLeg(LEAF, "v", window=10, size=size, relevance=1.0)
    fused = diversified(leg, ranked_leaf("x", ranked), vectors, np.array([0.0, 1.0], dtype=np.float32))
    assert [hit.key for hit in fused] == list(ranked)[-size:]
    assert [hit.score for hit in fused] == list(ranked.values())[-size:]


@given(st.integers(0, 1000), st.integers(1, 8), st.booleans())
def test_diversity_is_that_of_the_formula(seed: int, size: int, has_query: bool) -> None:
    rng = np.random.default_rng(seed)
    keys = [Key("i", str(n)) for n in range(8)]
    vectors = {key: rng.normal(size=(rng.integers(1, 4), 3)).astype(np.float32) for key in keys}
    query = rng.normal(size=3).astype(np.float32) if has_query else None
    leg = DiversifyLeg(LEAF, "v", window=8, size=size, relevance=0.6)

    def similarity(a: Key, b: Key) -> float:
        return float(inner_product_score(vectors[a] @ vectors[b].T).max())

    relevance = {key: 0.0 if query is None else float(inner_product_score(vectors[key] @ query).max()) for key in keys}
    chosen = [max(keys, key=relevance.__getitem__)]
    while len(chosen) < size:
        rest = [key for key in keys if key not in chosen]
        chosen.append(
            max(rest, key=lambda key: 0.6 * relevance[key] - 0.4 * max(similarity(key, other) for other in chosen))
        )
    fused = diversified(leg, ranked_leaf("x", {key: 8.0 - n for n, key in enumerate(keys)}), vectors, query)
    assert {hit.key for hit in fused} == set(chosen)
