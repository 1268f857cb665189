"""The laws that every normaliser and combination keeps, and calibration by hand-computed numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.fusion.blend import Blending, SemanticScale, blend
from query.fusion.combinations import COMBINATIONS
from query.fusion.linear import linear_fusion
from query.fusion.normalizers import NORMALIZERS, Calibration, calibrated, normalize
from query.fusion.ranked_lists import Key, RankedLeg

A, B, C = (Key("i", id_) for id_ in "abc")
keys = st.sampled_from([Key("i", id_) for id_ in "abcdefgh"])


def lists(low: float, high: float) -> st.SearchStrategy[dict[Key, float]]:
    scores = st.dictionaries(keys, st.floats(low, high).map(lambda value: round(value, 3)), min_size=1)
    return scores.map(lambda by_key: dict(sorted(by_key.items(), key=lambda item: -item[1])))


bm25_lists, dot_lists = lists(0.001, 60), lists(-1, 1)


@given(
    st.sampled_from(sorted(COMBINATIONS)),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.floats(0, 2),
    st.floats(0.01, 3),
    st.floats(0.01, 3),
)
def test_no_combination_falls_when_a_leg_rises(
    combination: str, first: float, other: float, rise: float, w0: float, w1: float
) -> None:
    combine = COMBINATIONS[combination]
    before = combine((w0, w1), (first, other))
    assert combine((w0, w1), (first + rise, other)) >= before - 1e-12
    assert combine((w0, w1), (first, other + rise)) >= before - 1e-12


@given(st.sampled_from(sorted(NORMALIZERS)), bm25_lists)
def test_a_normaliser_keeps_the_order_of_its_list(normalizer: str, scores: dict[Key, float]) -> None:
    values = list(normalize(scores, normalizer).values())
    assert values == sorted(values, reverse=True)


@given(st.sampled_from(sorted(NORMALIZERS)), st.sampled_from(sorted(COMBINATIONS)), bm25_lists, bm25_lists)
def test_a_document_with_higher_scores_on_all_legs_is_not_below(
    normalizer: str, combination: str, first: dict[Key, float], second: dict[Key, float]
) -> None:
    """A leg that lacks the document counts as a score below all others: BM25 0."""
    legs = [RankedLeg("x", first, 0.4, normalizer), RankedLeg("y", second, 0.6, normalizer)]
    scores = {hit.key: hit.score for hit in linear_fusion(legs, combination)}
    for key in scores:
        for other in scores:
            if all(leg.get(key, 0.0) >= leg.get(other, 0.0) for leg in (first, second)):
                assert scores[key] >= scores[other] - 1e-9


@given(
    st.sampled_from(["calibrated", "raw_dot", "theoretical"]),
    st.sampled_from(sorted(COMBINATIONS)),
    bm25_lists,
    dot_lists,
)
def test_the_blend_is_monotonic_in_bm25_and_in_the_dot_product(
    normalizer: str, combination: str, lexical: dict[Key, float], semantic: dict[Key, float]
) -> None:
    scale = SemanticScale({"i": Calibration(0.3)})
    blending = Blending(normalizer=normalizer, combination=combination)
    fused = blend({"lexical": lexical, "semantic": semantic}, {"lexical": 0.35, "semantic": 0.65}, blending, scale)
    scores = {hit.key: hit.score for hit in fused}
    for key in semantic:
        for other in semantic:
            if semantic[key] >= semantic[other] and lexical.get(key, 0.0) >= lexical.get(other, 0.0):
                assert scores[key] >= scores[other] - 1e-9


@given(
    st.sampled_from(["calibrated", "raw_dot", "theoretical", "none", "minmax", "l2_norm", "z_score", "dbsf"]),
    st.sampled_from(sorted(COMBINATIONS)),
    st.dictionaries(keys, st.tuples(st.floats(0.001, 60), st.floats(-1, 1)), min_size=1),
    st.integers(1, 8),
)
def test_the_windowed_blend_ranks_no_document_outside_of_a_window_above_a_better_one_inside(
    normalizer: str, combination: str, scores: dict[Key, tuple[float, float]], window: int
) -> None:
    true: list[dict[Key, float]] = [{key: round(pair[leg], 3) for key, pair in scores.items()} for leg in (0, 1)]
    lexical, semantic = (dict(sorted(leg.items(), key=lambda item: -item[1])[:window]) for leg in true)
    scale = SemanticScale({"i": Calibration(0.3)})
    blending = Blending(normalizer=normalizer, combination=combination, is_windowed=True)
    fused = blend({"lexical": lexical, "semantic": semantic}, {"lexical": 0.35, "semantic": 0.65}, blending, scale)
    fused_scores = {hit.key: hit.score for hit in fused}
    for key in fused_scores:
        for other in fused_scores:
            if all(leg[key] >= leg[other] for leg in true) and _is_inside_where(other, key, lexical, semantic):
                assert fused_scores[key] >= fused_scores[other] - 1e-9


def _is_inside_where(other: Key, key: Key, *windows: dict[Key, float]) -> bool:
    """Whether `key` is inside of each window that `other` is inside of: of equal scores at the end of a window, chance decides."""
    return all(key in window or other not in window for window in windows)


def test_a_document_outside_of_the_window_is_below_a_negative_one_inside() -> None:
    lists = {"lexical": {A: 5.0, B: 5.0}, "semantic": {C: 0.9, A: -0.05}}
    weights = {"lexical": 0.5, "semantic": 0.5}
    for normalizer in ("calibrated", "raw_dot", "none", "l2_norm"):
        blending = Blending(normalizer=normalizer, is_windowed=True)
        scores = {hit.key: hit.score for hit in blend(lists, weights, blending, SemanticScale({"i": Calibration(0.3)}))}
        assert scores[B] <= scores[A], normalizer


def test_a_lower_dot_product_does_not_win_under_a_geometric_mean() -> None:
    lists = {"lexical": {A: 5.0, B: 5.0}, "semantic": {B: 0.4, A: -0.05}}
    for combination in ("geometric_mean", "harmonic_mean"):
        for normalizer in ("calibrated", "raw_dot", "minmax"):
            fused = blend(lists, {"lexical": 0.5, "semantic": 0.5}, Blending("linear", normalizer, combination))
            assert [hit.key for hit in fused] == [B, A], (combination, normalizer)


def test_calibration_by_hand() -> None:
    calibration = Calibration(mean=0.7)
    assert [calibration.calibrate(dot) for dot in (1.0, 0.7, 0.85, 0.4)] == pytest.approx([1, 0, 0.5, -1])


@given(dot_lists, st.floats(0, 9))
def test_a_common_direction_changes_no_calibrated_value(dots: dict[Key, float], squared: float) -> None:
    """With a common part of squared length b added to all vectors, each dot product becomes (dot + b) / (1 + b)."""
    mean = 0.1
    moved = {key: (dot + squared) / (1 + squared) for key, dot in dots.items()}
    before = calibrated({"i": Calibration(mean)})(dots)
    after = calibrated({"i": Calibration((mean + squared) / (1 + squared))})(moved)
    assert after == pytest.approx(before, abs=1e-9)


def test_each_index_has_its_own_calibration() -> None:
    here, there = Key("here", "1"), Key("there", "1")
    normalizer = calibrated({"here": Calibration(0.0), "there": Calibration(0.8)})
    assert normalizer({there: 0.9, here: 0.5}) == pytest.approx({there: 0.5, here: 0.5})


def test_a_mean_of_one_keeps_the_order_and_stays_finite() -> None:
    values = calibrated({"i": Calibration(1.0)})({A: 1.0, B: 0.9})
    assert (values[A], values[B]) == pytest.approx((0.0, -100))


def test_rounding_errors_do_not_become_scores_where_all_documents_equal_the_query() -> None:
    rounded = [2 * float(np.float32(score)) - 1 for score in (1 - 1e-7, 1, 1 + 1e-7)]
    for mean in (1 - 1e-7, 1, 1 + 1e-7):
        assert [Calibration(mean).calibrate(dot) for dot in rounded] == pytest.approx([0, 0, 0], abs=1e-3)


def test_opensearch_constants_by_hand() -> None:
    assert normalize({A: 4.0, B: 2.0, C: 0.0}, "opensearch_min_max") == {A: 1.0, B: 0.5, C: 0.001}
    assert normalize({A: 3.0}, "opensearch_z_score") == {A: 1.0}
    assert normalize({A: 4.0, B: 2.0, C: 0.0}, "opensearch_z_score") == pytest.approx({A: 1.5**0.5, B: 0.001, C: 0.001})


def test_dbsf_goes_beyond_one_for_an_outlier() -> None:
    scores = {Key("i", str(n)): 0.0 for n in range(30)}
    assert normalize({A: 1.0, **scores}, "dbsf")[A] > 1
