"""The tree of legs, fused bottom-up, and the default blend."""

import pytest

from query.fusion.blend import Blending, SemanticScale, blend
from query.fusion.normalizers import Calibration
from query.fusion.ranked_lists import Key
from query.gateway.responses import warning_header
from query.language.tree import LinearLeg, RrfLeg, StandardLeg, Weighted
from query.run.tree_fusion import fuse, list_of_hits, list_of_leaf

A, B, C = (Key("i", id_) for id_ in "abc")


def test_the_default_blend_by_hand() -> None:
    scale = SemanticScale({"i": Calibration(mean=0.6)})
    lists = {"lexical": {A: 8.0, B: 4.0}, "semantic": {B: 0.9, C: 0.4}}
    fused = blend(lists, {"lexical": 0.35, "semantic": 0.65}, scale=scale)
    assert {hit.key.id: round(hit.score, 9) for hit in fused} == {
        "b": round(0.35 * 0.5 + 0.65 * 0.75, 9), "a": 0.35, "c": round(-0.65 * 0.5, 9)
    }  # fmt: skip
    assert [hit.parts[1].mean for hit in fused] == [0.6, None, 0.6]


def test_the_raw_dot_product_by_hand() -> None:
    lists = {"lexical": {A: 8.0, B: 4.0}, "semantic": {B: 0.9, C: -0.2}}
    fused = blend(lists, {"lexical": 0.3, "semantic": 0.7}, Blending(normalizer="raw_dot"))
    assert {hit.key.id: round(hit.score, 9) for hit in fused} == {"b": 0.3 * 0.5 + 0.7 * 0.9, "a": 0.3, "c": -0.14}


def test_a_warning_is_plain_ascii_in_quotes() -> None:
    assert warning_header('model "é"\nfailed') == "299 esblend \"model '?' failed\""


def test_a_blend_by_ranks() -> None:
    fused = blend({"lexical": {A: 8.0}, "semantic": {A: 0.9}}, {"lexical": 0.5, "semantic": 0.5}, Blending("rrf"))
    assert fused[0].score == pytest.approx(1 / 61)


def test_a_nested_tree_is_fused_from_its_leaves() -> None:
    leaf = StandardLeg({"match_all": {}})
    inner = RrfLeg((Weighted(leaf), Weighted(leaf)), window=1, rank_constant=1)
    outer = LinearLeg((Weighted(leaf, 2.0), Weighted(inner, 1.0)), window=10)
    hits = fuse(inner, [list_of_leaf("x", {B: 9.0, C: 1.0}, 0), list_of_leaf("y", {B: 3.0}, 0)])[: inner.window]
    fused = fuse(outer, [list_of_leaf("z", {A: 5.0}, 0), list_of_hits(hits)])
    assert [(hit.key, hit.score) for hit in fused] == [(A, 10.0), (B, 1.0)]


def test_lists_are_cut_to_the_window_before_fusion() -> None:
    tree = LinearLeg((Weighted(StandardLeg({"match_all": {}}), 1.0, "minmax"),), window=2)
    fused = fuse(tree, [list_of_leaf("x", {A: 10.0, B: 5.0, C: 0.0}, 0)])
    assert [(hit.key, hit.score) for hit in fused] == [(A, 1.0), (B, 0.0)]


def test_the_minimum_applies_to_the_fused_score() -> None:
    tree = LinearLeg((Weighted(StandardLeg({"match_all": {}})),), window=10, min_score=4.0)
    assert [hit.key for hit in fuse(tree, [list_of_leaf("x", {A: 10.0, B: 3.0}, 0)])] == [A]
