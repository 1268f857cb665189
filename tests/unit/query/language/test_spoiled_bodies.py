"""Whatever stands in a body, it is understood or refused with a reason, before anything runs."""

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given

from esblend.errors import InvalidRequest, MalformedRequest
from query.language.clauses import knn_sections, ranked_clauses
from query.language.opensearch import translate_neural
from query.language.search_body import fuses_legs, parse_search
from tests.bodies import MATCH, VALID, places, spoiled


@pytest.mark.parametrize("body", VALID, ids=lambda body: json.dumps(body)[:60])
def test_the_whole_bodies_are_understood(body: dict[str, Any]) -> None:
    body = copy.deepcopy(body)
    translate_neural(body)
    assert fuses_legs(body) or list(ranked_clauses(body)) or list(knn_sections(body))
    if fuses_legs(body):
        parse_search(body)


def understand_or_refuse(body: dict[str, Any]) -> None:
    with contextlib.suppress(MalformedRequest, InvalidRequest):
        translate_neural(body)
        list(ranked_clauses(body))
        list(knn_sections(body))
        if fuses_legs(body):
            parse_search(body)


@given(spoiled())
def test_a_spoiled_body_is_understood_or_refused(body: dict[str, Any]) -> None:
    understand_or_refuse(body)


@pytest.mark.parametrize("value", [None, True, -1, 2**70, 0.5, "", "x", [], {}, [None], [[]], {"": {}}], ids=repr)
def test_no_value_anywhere_breaks_the_parser(value: Any) -> None:
    """Each place of each body, with a value that does not belong there."""
    for body in VALID:
        for number in range(len(places(body))):
            broken = copy.deepcopy(body)
            container, key = places(broken)[number]
            container[key] = value
            understand_or_refuse(broken)


def nested(depth: int) -> dict[str, Any]:
    leg: dict[str, Any] = {"standard": {"query": MATCH}}
    for _ in range(depth):
        leg = {"rrf": {"retrievers": [leg, {"standard": {"query": MATCH}}]}}
    return {"retriever": leg}


@pytest.mark.parametrize("body", [
    nested(100), {"retriever": {"rrf": {"retrievers": [{"standard": {"query": MATCH}}] * 5000}}},
    {"query": {"hybrid": {"queries": [MATCH] * 5000}}}, {"query": {"hybrid": {"query": "x", "fields": ["a"] * 100_000}}},
    {"query": {"hybrid": {"query": "x " * 1_000_000}}}, {"query": {"hybrid": {"query": "x", "fields": ["a*"] * 101}}},
    {"retriever": {"rrf": {"query": "x", "fields": ["a"] * 1001}}},
], ids=["deep", "wide", "many queries", "many fields", "long text", "many wildcards", "many fields of a retriever"])  # fmt: skip
def test_enormous_bodies_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises((InvalidRequest, MalformedRequest), match=r"at most|deep|1 to 5"):
        parse_search(body)
