"""The tree of legs, fused bottom-up, and the default blend."""

import pytest

from query.fusion import Key
from query.request import LinearLeg, RrfLeg, StandardLeg, Weighted
from query.search import blend, fuse, warning_header

A, B, C = (Key("i", one) for one in "abc")


def test_the_default_blend_by_hand() -> None:
    fused = blend(({A: 8.0, B: 4.0}, {B: 0.9, C: -0.2}), 0.7, "linear", None)
    assert {one.key.id: round(one.score, 9) for one in fused} == {"b": 0.3 * 0.5 + 0.7 * 0.9, "a": 0.3, "c": -0.14}


def test_a_warning_is_plain_ascii_in_quotes() -> None:
    assert warning_header('model "é"\nfailed') == "299 esblend \"model '?' failed\""


def test_a_blend_by_ranks() -> None:
    fused = blend(({A: 8.0}, {A: 0.9}), 0.5, "rrf", None)
    assert fused[0].score == pytest.approx(1 / 61)


def test_a_nested_tree_is_fused_from_its_leaves() -> None:
    leaf = StandardLeg({"match_all": {}})
    inner = RrfLeg((Weighted(leaf), Weighted(leaf)), window=1, rank_constant=1)
    outer = LinearLeg((Weighted(leaf, 2.0), Weighted(inner, 1.0)), window=10)
    fused = fuse(outer, iter([{A: 5.0}, {B: 9.0, C: 1.0}, {B: 3.0}]))
    assert [(one.key, one.score) for one in fused] == [(A, 10.0), (B, 1.0)]


def test_lists_are_cut_to_the_window_before_fusion() -> None:
    leaf = StandardLeg({"match_all": {}})
    tree = LinearLeg((Weighted(leaf, 1.0, "minmax"),), window=2)
    fused = fuse(tree, iter([{A: 10.0, B: 5.0, C: 0.0}]))
    assert [(one.key, one.score) for one in fused] == [(A, 1.0), (B, 0.0)]


def test_the_minimum_applies_to_the_fused_score() -> None:
    leaf = StandardLeg({"match_all": {}})
    fused = fuse(LinearLeg((Weighted(leaf),), window=10, min_score=4.0), iter([{A: 10.0, B: 3.0}]))
    assert [one.key for one in fused] == [A]
