"""Fusion by hand-computed numbers, and the laws it keeps."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esblend.errors import InvalidRequest
from query.fusion.autocut import autocut
from query.fusion.combinations import COMBINATIONS
from query.fusion.linear import linear_fusion
from query.fusion.normalizers import normalize
from query.fusion.ranked_lists import FusedHit, Key, RankedLeg
from query.fusion.rrf import reciprocal_rank_fusion


def keys(*ids: str) -> list[Key]:
    return [Key("i", id_) for id_ in ids]


A, B, C = keys("a", "b", "c")
scores = st.dictionaries(st.sampled_from(keys(*"abcdefgh")), st.floats(0.01, 100), min_size=1).map(
    lambda scores: dict(sorted(scores.items(), key=lambda item: -item[1]))
)


def test_rrf_by_hand() -> None:
    fused = reciprocal_rank_fusion([RankedLeg("bm25", {A: 9.0, B: 5.0}), RankedLeg("knn", {B: 0.9, C: 0.8})])
    assert [hit.key for hit in fused] == [B, A, C]
    assert [hit.score for hit in fused] == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62])
    assert [part.rank for part in fused[0].parts] == [2, 1]


def test_rrf_weights_and_constant_by_hand() -> None:
    fused = reciprocal_rank_fusion(
        [RankedLeg("x", {A: 1.0}, weight=2.0), RankedLeg("y", {B: 1.0}, weight=0.5)], rank_constant=1
    )
    assert [(hit.key, hit.score) for hit in fused] == [(A, 1.0), (B, 0.25)]


def test_rrf_ties_go_to_the_earlier_leg() -> None:
    fused = reciprocal_rank_fusion([RankedLeg("x", {A: 1.0}), RankedLeg("y", {B: 1.0})])
    assert [hit.key for hit in fused] == [A, B]


def test_linear_with_minmax_by_hand() -> None:
    legs = [
        RankedLeg("bm25", {A: 10.0, B: 6.0, C: 2.0}, weight=0.3, normalizer="minmax"),
        RankedLeg("knn", {C: 0.9, A: 0.5}, weight=0.7, normalizer="minmax"),
    ]
    fused = linear_fusion(legs)
    assert [(hit.key.id, round(hit.score, 9)) for hit in fused] == [("c", 0.7), ("a", 0.3), ("b", 0.15)]


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        ("none", [4.0, 2.0, 0.0]),
        ("minmax", [1.0, 0.5, 0.0]),
        ("l2_norm", [4 / math.sqrt(20), 2 / math.sqrt(20), 0.0]),
        ("z_score", [math.sqrt(1.5), 0.0, -math.sqrt(1.5)]),
        ("max", [1.0, 0.5, 0.0]),
    ],
)
def test_normalizers_by_hand(normalizer: str, expected: list[float]) -> None:
    assert list(normalize({A: 4.0, B: 2.0, C: 0.0}, normalizer).values()) == pytest.approx(expected)


@pytest.mark.parametrize(("normalizer", "expected"), [("minmax", 1.0), ("z_score", 0.0), ("max", 1.0)])
def test_normalizers_of_equal_scores(normalizer: str, expected: float) -> None:
    assert normalize({A: 3.0, B: 3.0}, normalizer) == {A: expected, B: expected}


def test_an_unknown_normalizer_is_named() -> None:
    with pytest.raises(InvalidRequest, match="softmax"):
        normalize({A: 1.0}, "softmax")


@given(scores, scores, st.sampled_from(["minmax", "l2_norm", "z_score", "max"]), st.floats(0.01, 100))
def test_normalizers_do_not_see_the_scale_of_a_leg(
    first: dict[Key, float], second: dict[Key, float], normalizer: str, factor: float
) -> None:
    spread = max(first.values()) - min(first.values())
    if 0 < spread < 1e-3 or spread * factor < 1e-6 < spread:
        return  # too close to equal to tell the scale from rounding
    scaled = {key: value * factor for key, value in first.items()}
    for key, value in normalize(first, normalizer).items():
        assert normalize(scaled, normalizer)[key] == pytest.approx(value, abs=1e-6)


@given(scores, scores)
def test_the_order_of_the_legs_does_not_change_scores(first: dict[Key, float], second: dict[Key, float]) -> None:
    for fuse in (reciprocal_rank_fusion, linear_fusion):
        of_one_window = {f.key: f.score for f in fuse([RankedLeg("x", first), RankedLeg("y", second)])}
        other = {f.key: f.score for f in fuse([RankedLeg("y", second), RankedLeg("x", first)])}
        assert of_one_window == other


@given(scores)
def test_identical_legs_keep_the_order(leg: dict[Key, float]) -> None:
    for fuse in (reciprocal_rank_fusion, linear_fusion):
        assert [hit.key for hit in fuse([RankedLeg("x", leg), RankedLeg("y", leg)])] == list(leg)


@given(scores, scores)
def test_a_score_is_the_exact_sum_of_its_parts(first: dict[Key, float], second: dict[Key, float]) -> None:
    for fuse in (reciprocal_rank_fusion, linear_fusion):
        for hit in fuse([RankedLeg("x", first, 0.3, "minmax"), RankedLeg("y", second, 0.7, "minmax")]):
            assert hit.score == math.fsum(part.contribution for part in hit.parts)


@given(scores, scores)
def test_scores_descend(first: dict[Key, float], second: dict[Key, float]) -> None:
    fused = linear_fusion([RankedLeg("x", first), RankedLeg("y", second)])
    assert [hit.score for hit in fused] == sorted((hit.score for hit in fused), reverse=True)


TWO_LEGS = [RankedLeg("x", {A: 0.5, B: 0.2}, weight=1.0), RankedLeg("y", {A: 0.8}, weight=3.0)]


@pytest.mark.parametrize(
    ("combination", "of_both", "of_one"),
    [
        ("sum", 0.5 + 3 * 0.8, 0.2),
        ("arithmetic_mean", (0.5 + 3 * 0.8) / 4, 0.2 / 4),
        # The leg without the document counts with OpenSearch's minimum, 0.001.
        ("geometric_mean", (0.5 * 0.8**3) ** (1 / 4), (0.2 * 0.001**3) ** (1 / 4)),
        ("harmonic_mean", 4 / (1 / 0.5 + 3 / 0.8), 4 / (1 / 0.2 + 3 / 0.001)),
    ],
)
def test_combinations_by_hand(combination: str, of_both: float, of_one: float) -> None:
    fused = {hit.key: hit.score for hit in linear_fusion(TWO_LEGS, combination)}
    assert fused == pytest.approx({A: of_both, B: of_one})


@given(st.sampled_from(sorted(COMBINATIONS)), scores, scores)
def test_a_leg_of_weight_zero_changes_no_order(
    combination: str, first: dict[Key, float], other: dict[Key, float]
) -> None:
    alone = linear_fusion([RankedLeg("one", first)], combination)
    both = linear_fusion([RankedLeg("one", first), RankedLeg("other", other, weight=0.0)], combination)
    assert [f.key for f in both if f.key in first] == [f.key for f in alone]


def test_an_unknown_combination_is_named() -> None:
    with pytest.raises(InvalidRequest, match="median"):
        linear_fusion(TWO_LEGS, "median")


def test_dbsf_by_hand() -> None:
    # mean 2, standard deviation 1
    assert normalize({A: 3.0, B: 1.0}, "dbsf") == pytest.approx({A: 4 / 6, B: 2 / 6})
    assert normalize({A: 3.0, B: 3.0}, "dbsf") == {A: 0.5, B: 0.5}


def test_the_theoretical_bounds_of_a_dot_product() -> None:
    assert normalize({A: 1.0, B: 0.0, C: -1.0}, "unit_dot") == {A: 1.0, B: 0.5, C: 0.0}


def ranked(*scores: float) -> list[FusedHit]:
    return [FusedHit(Key("i", str(number)), score, ()) for number, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "jumps", "count"),
    [
        ([1.0, 0.98, 0.97, 0.4, 0.39, 0.38], 1, 3),
        ([1.0, 0.98, 0.6, 0.59, 0.1, 0.09], 1, 2),
        ([1.0, 0.98, 0.6, 0.59, 0.1, 0.09], 2, 4),
        ([1.0, 0.98, 0.97, 0.4, 0.39, 0.38], 9, 6),
        ([0.5, 0.5, 0.5], 1, 3),
        ([0.5], 1, 1),
        ([], 1, 0),
    ],
)
def test_autocut_by_hand(scores: list[float], jumps: int, count: int) -> None:
    assert len(autocut(ranked(*scores), jumps)) == count


def test_single_precision_adds_in_the_order_of_the_legs_as_elasticsearch() -> None:
    """With 32-bit floats, 1/61 + 1/62 + 1/63 and 1/62 + 1/63 + 1/61 differ, so the two documents do not tie."""
    a, b, c = (Key("i", name) for name in "abc")
    lists = ({a: 3.0, b: 2.0, c: 1.0}, {c: 3.0, a: 2.0, b: 1.0}, {b: 3.0, c: 2.0, a: 1.0})
    legs = [RankedLeg(str(position), scores) for position, scores in enumerate(lists)]
    scores = {hit.key: hit.score for hit in reciprocal_rank_fusion(legs, 60, single_precision=True)}
    assert scores == {a: 0.048395492, b: 0.04839549, c: 0.048395492}
    assert len({hit.score for hit in reciprocal_rank_fusion(legs, 60)}) == 1


def test_single_precision_gives_the_shortest_decimal_number() -> None:
    a, b = Key("i", "a"), Key("i", "b")
    legs = [RankedLeg("first", {b: 2.0, a: 1.0}), RankedLeg("second", {a: 1.0})]
    assert reciprocal_rank_fusion(legs, 1, single_precision=True)[0].score == 0.8333334
    assert linear_fusion([RankedLeg("first", {a: 0.1}, 3.0)], single_precision=True)[0].score == 0.3


def test_a_single_precision_score_stays_finite() -> None:
    [hit] = linear_fusion([RankedLeg("pinned", {Key("i", "a"): 1.7014124e38}, 1000.0)], single_precision=True)
    assert hit.score == 3.4028235e38


@given(scores, scores, st.integers(1, 9))
@pytest.mark.parametrize("fuse", [reciprocal_rank_fusion, linear_fusion])
def test_the_best_hits_are_the_same_with_and_without_the_others(
    fuse: Callable[..., list[FusedHit]], first: dict[Key, float], second: dict[Key, float], most: int
) -> None:
    """Those that tie with the last of them are kept: Elasticsearch orders equal scores."""
    legs = [RankedLeg("x", first), RankedLeg("y", second)]
    every, best = ([(hit.key, hit.score) for hit in fuse(legs, most=limit)] for limit in (None, most))
    assert best == [hit for n, hit in enumerate(every) if n < most or hit[1] == every[most - 1][1]]
