"""The verdict on clicks, by hand."""

import pytest

from query.lab.clicks import judge


def test_a_clear_preference_wins() -> None:
    verdict = judge({"experiment": "t", "clicks": 130, "wins_a": 30, "wins_b": 70, "ties": 20})
    assert verdict.preference == pytest.approx((70 + 10) / 120 - 0.5)
    assert verdict.p_value == pytest.approx(7.85e-5, rel=0.01)  # 2 * P(at most 30 of 100 coins)
    assert verdict.winner == "b"
    assert "t: side b wins; of 120 searches with clicks, a won 30, b won 70, and 20 tied" in verdict.sentence


def test_a_difference_by_chance_has_no_winner() -> None:
    verdict = judge({"experiment": "t", "clicks": 9, "wins_a": 3, "wins_b": 5, "ties": 1})
    assert verdict.p_value == pytest.approx(186 / 256)  # 2 * P(at most 3 of 8 coins) = 2 * 93 / 256
    assert verdict.winner is None
    assert "no side wins yet" in verdict.sentence


def test_ties_alone_decide_nothing() -> None:
    verdict = judge({"experiment": "t", "clicks": 4, "wins_a": 0, "wins_b": 0, "ties": 2})
    assert (verdict.preference, verdict.p_value, verdict.winner) == (0, 1, None)
