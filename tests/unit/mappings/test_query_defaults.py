"""Defaults of queries that would make a leg match nothing, or every score 0, are rejected when they are set."""

from typing import Any

import pytest

from esblend.errors import InvalidRequest
from mappings.attachment import QueryDefaults
from mappings.fields import check_default_fields
from mappings.requests import parse_attach_request, parse_defaults

NOTHING_COUNTS: list[dict[str, Any]] = [
    {"weights": {"lexical": 0, "semantic": 0}},
    {"weights": {"lexical": 0, "title": 0, "body": 0}},
    {"profiles": {"p": {"weights": {"lexical": 0, "semantic": 0}}}},
]
PROPERTIES = {"title": {"type": "text"}, "count": {"type": "long"}}


@pytest.mark.parametrize("defaults", NOTHING_COUNTS)
def test_a_weight_must_be_above_0(defaults: dict[str, Any]) -> None:
    for parse, body in (
        (parse_defaults, defaults),
        (parse_attach_request, {"source_fields": ["a"], "defaults": defaults}),
    ):
        with pytest.raises(InvalidRequest, match="at least one weight must be above 0"):
            parse(body)


def test_a_leg_that_is_not_named_has_the_weight_1() -> None:
    for weights in ({"lexical": 0}, {"semantic": 0}, {"lexical": 0, "title": 0, "body": 1}):
        assert parse_defaults({"weights": weights}).weights == weights


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (["missing"], r"no field \[missing\]"),
        (["count"], r"\[count\]"),
        (["title^heavy"], r"\[title\^heavy\]; a boost is a number"),
        (["title^-1"], "a boost is a number of at least 0"),
    ],
)
def test_fields_that_no_query_can_search_are_rejected_in_profiles_too(fields: list[str], reason: str) -> None:
    for defaults in ({"fields": fields}, {"profiles": {"p": {"fields": fields}}}):
        with pytest.raises(InvalidRequest, match=reason):
            check_default_fields("index", PROPERTIES, QueryDefaults.model_validate(defaults))
