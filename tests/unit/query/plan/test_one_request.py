"""The plan with one request: when it applies, and what it makes of Elasticsearch's responses."""

from typing import Any

import numpy as np
import pytest

from query.fusion.normalizers import Calibration
from query.fusion.ranked_lists import NumberedKey
from query.language.tree import Hybrid, Search, StandardLeg
from query.plan.one_request import LexicalWindow, is_page_certain, lexical_window, one_request_body
from tests.unit.query.plan.test_bodies import attachment

WEIGHTS = {"lexical": 0.35, "semantic": 0.65}
EXACT = {"value": 40, "relation": "eq"}


def response(*scores: float, **hits: Any) -> dict[str, Any]:
    numbered = [{"_index": "i", "_score": score, "_seq_no": n, "_primary_term": 1} for n, score in enumerate(scores)]
    return {"timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": numbered, **hits}}


def window(*scores: float) -> LexicalWindow:
    return LexicalWindow({NumberedKey("i", f"{n}/1"): score for n, score in enumerate(scores)}, EXACT)


def test_the_window_of_a_query() -> None:
    assert lexical_window(response(9.0, 4.0, total=EXACT)) == window(9.0, 4.0)
    assert window(9.0, 4.0).highest == 9.0


@pytest.mark.parametrize("scores", [(), (0.0,), (1e-10,)])
def test_matches_without_a_usable_score(scores: tuple[float, ...]) -> None:
    assert lexical_window(response(*scores)) is None


@pytest.mark.parametrize("fault", [{"timed_out": True}, {"_shards": {"failed": 1}}, {"error": {"type": "any"}}])
def test_an_incomplete_response_does_not_tell_the_highest_score(fault: dict[str, Any]) -> None:
    assert lexical_window({**response(9.0, 4.0), **fault}) is None


def test_hits_without_sequence_numbers_are_no_window() -> None:
    hits = [{"_index": "i", "_score": 2.0}]
    assert lexical_window({**response(), "hits": {"hits": hits}}) is None


def test_a_page_whose_end_32_bits_cannot_tell_is_not_certain() -> None:
    calibration = Calibration(0.1)
    assert is_page_certain([0.9, 0.8], 2, calibration, WEIGHTS)
    assert is_page_certain([0.9, 0.8, 0.7], 2, calibration, WEIGHTS)
    assert not is_page_certain([0.9, 0.8, 0.8], 2, calibration, WEIGHTS)
    assert not is_page_certain([0.9, 0.8, 0.7999999], 2, calibration, WEIGHTS)
    # With a mean near 1, scores are sums of large parts.
    assert not is_page_certain([0.9, 0.8, 0.79999], 2, Calibration(0.99), WEIGHTS)


def test_elasticsearch_ranks_by_the_scores_that_the_gateway_computes() -> None:
    """Also where a query equals nearly every document, and the distance to a perfect match has a lower limit."""
    calibration = Calibration(0.9995)
    hybrid, leg = Hybrid(("whale",)), StandardLeg({"match": {"body": "whale"}})
    vector, lexical = np.ones(3, np.float32), window(5.0, 1.0)
    body = one_request_body(hybrid, leg, attachment(), vector, calibration, WEIGHTS, lexical, Search(hybrid), 50)
    boost = body["rescore"]["query"]["rescore_query"]["bool"]["should"][1]["bool"]["boost"]
    assert boost * (0.9997 - 0.9995) == pytest.approx(WEIGHTS["semantic"] * calibration.calibrate(0.9997))
