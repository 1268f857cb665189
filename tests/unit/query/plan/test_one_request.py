"""The plan with one request: when it applies, and what it makes of Elasticsearch's responses."""

from typing import Any

import numpy as np
import pytest

from query.fusion.normalizers import Calibration
from query.language.tree import Hybrid, Search, StandardLeg
from query.plan.one_request import LexicalWindow, is_page_certain, lexical_window, one_request_body, total_of_both
from tests.unit.query.plan.test_bodies import attachment

WEIGHTS = {"lexical": 0.35, "semantic": 0.65}
EXACT = {"value": 40, "relation": "eq"}


def response(*scores: float, **hits: Any) -> dict[str, Any]:
    page = {"hits": [{"_score": score} for score in scores], **hits}
    return {"timed_out": False, "_shards": {"failed": 0}, "hits": page}


def test_the_window_of_a_query_with_more_matches() -> None:
    assert lexical_window(response(9.0, 4.0, 3.0, total=EXACT), 2) == LexicalWindow(9.0, 4.0, EXACT)


def test_a_window_with_all_matches_has_no_lowest_score() -> None:
    assert lexical_window(response(9.0, 4.0), 2) == LexicalWindow(9.0, None, None)


@pytest.mark.parametrize("scores", [(), (0.0,), (1e-10,), (9.0, 4.0, 4.0), (9.0, 4.0, 3.9999999)])
def test_scores_that_do_not_tell_which_documents_are_in_the_window(scores: tuple[float, ...]) -> None:
    assert lexical_window(response(*scores), 2) is None


@pytest.mark.parametrize("fault", [{"timed_out": True}, {"_shards": {"failed": 1}}, {"error": {"type": "any"}}])
def test_an_incomplete_response_does_not_tell_the_highest_score(fault: dict[str, Any]) -> None:
    assert lexical_window({**response(9.0, 4.0), **fault}, 2) is None


@pytest.mark.parametrize("highest", [0.001, 1.0, 9.0, 1000.0])
def test_nearest_documents_score_above_all_others(highest: float) -> None:
    above = LexicalWindow(highest, None, None).above_all
    assert above > 2 * highest
    assert above.hex().startswith("0x1.0000000000000p")  # adding 0 to it changes nothing


@pytest.mark.parametrize(
    ("most", "matched", "expected"),
    [
        (10_000, EXACT, {"value": 43, "relation": "eq"}), (True, EXACT, {"value": 43, "relation": "eq"}),
        (42, EXACT, {"value": 42, "relation": "gte"}),
        (10, {"value": 10, "relation": "gte"}, {"value": 10, "relation": "gte"}), (False, None, None),
    ],
)  # fmt: skip
def test_totals_add_nearest_documents_without_a_word(most: bool | int, matched: Any, expected: Any) -> None:
    counted = {"aggregations": {"nearest_only": {"doc_count": 3}}}
    assert total_of_both(most, LexicalWindow(9.0, 4.0, matched), counted) == expected


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
    vector, lexical = np.ones(3, np.float32), LexicalWindow(5.0, 1.0, EXACT)
    body = one_request_body(hybrid, leg, attachment(), vector, calibration, WEIGHTS, lexical, Search(hybrid), 50)
    boost = body["rescore"]["query"]["rescore_query"]["bool"]["should"][1]["bool"]["boost"]
    assert boost * (0.9997 - 0.9995) == pytest.approx(WEIGHTS["semantic"] * calibration.calibrate(0.9997))
