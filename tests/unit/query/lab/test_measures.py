"""Measures by hand-computed numbers, and what is called significant."""

import math
import random

import pytest

from query.lab.judgements import Judged
from query.lab.measures import MAIN, compare, mean_of, per_query

JUDGED = Judged("j", {"1": "one", "2": "two"}, {"1": {"a": 1, "b": 2}, "2": {"c": 1}})


def test_measures_by_hand() -> None:
    run = {"1": {"x": 3.0, "b": 2.0, "a": 1.0}}
    values = per_query(run, JUDGED)
    ideal = 2 + 1 / math.log2(3)
    assert values["nDCG@10"] == pytest.approx({"1": (2 / math.log2(3) + 1 / 2) / ideal, "2": 0.0})
    assert values["MRR@10"] == pytest.approx({"1": 0.5, "2": 0.0})
    assert values["recall@10"] == pytest.approx({"1": 1.0, "2": 0.0})
    assert values["MAP"] == pytest.approx({"1": (1 / 2 + 2 / 3) / 2, "2": 0.0})


def test_a_negative_grade_takes_nothing_away() -> None:
    judged = Judged("j", {"1": "one"}, {"1": {"a": 1, "b": -1}})
    assert per_query({"1": {"b": 2.0, "a": 1.0}}, judged, [MAIN])[MAIN]["1"] == pytest.approx(1 / math.log2(3))


def test_an_interval_holds_its_mean_and_a_constant_has_none() -> None:
    measure = mean_of({str(n): n / 10 for n in range(10)})
    assert measure.mean == pytest.approx(0.45)
    assert measure.low < measure.mean < measure.high
    same = mean_of({"1": 0.5, "2": 0.5})
    assert (same.low, same.mean, same.high) == (0.5, 0.5, 0.5)


def test_chance_is_not_called_significant_and_a_steady_gain_is() -> None:
    draw = random.Random(1)
    base = {str(n): draw.random() * 0.5 for n in range(100)}
    noise = {id_: value + draw.gauss(0, 0.1) for id_, value in base.items()}
    better = {id_: value + 0.1 + draw.gauss(0, 0.05) for id_, value in base.items()}
    comparisons = compare({"base": base, "noise": noise, "better": better, "same": dict(base)}, "base")
    assert not comparisons["noise"].is_significant
    assert comparisons["better"].is_significant
    assert comparisons["better"].gain.mean == pytest.approx(0.1, abs=0.02)
    assert (comparisons["same"].p_value, comparisons["same"].wins, comparisons["same"].losses) == (1.0, 0, 0)
