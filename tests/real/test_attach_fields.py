"""Source fields: what an attach call accepts is embedded, and what it rejects it rejects for a true reason."""

from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch import BadRequestError

from tests.conftest import Stack

TEXT: dict[str, Any] = {"type": "text"}
LONG_NAMES = [f"{'a_rather_long_name_of_a_field_' * 5}{number}" for number in range(32)]

ACCEPTED: dict[str, tuple[dict[str, Any], list[str], dict[str, Any]]] = {
    "a comma": ({"a,b": TEXT}, ["a,b"], {"a,b": "whales"}),
    "an asterisk": ({"a*b": TEXT, "axb": TEXT}, ["a*b"], {"a*b": "whales", "axb": "bread"}),
    "dots within an object without subobjects": (
        {"m": {"type": "object", "subobjects": False, "properties": {"a.b": TEXT}}}, ["m.a.b"], {"m": {"a.b": "whales"}},
    ),
    "names longer than a URL": (
        dict.fromkeys(LONG_NAMES, TEXT), LONG_NAMES, dict.fromkeys(LONG_NAMES, "whales"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_unusual_names_are_embedded(stack: Stack, make_index: Callable[..., str], case: str) -> None:
    properties, fields, document = ACCEPTED[case]
    index = make_index(document, properties=properties)
    stack.attach(index, *fields)
    assert stack.wait(index)["embedded"] == 1
    hits = stack.gateway.search(index=index, query={"hybrid": {"query": "marine animals", "alpha": 1}})["hits"]["hits"]
    assert hits[0]["_score"] > 0.2
    written = stack.call("PUT", f"/{index}/_doc/1", document, wait_for="embedded", timeout="60s")
    assert written["esblend"]["embedded"] == 1, written


REJECTED: dict[str, tuple[dict[str, Any], str, str]] = {
    "copied values": (
        {"title": {**TEXT, "copy_to": "all"}, "m": {"properties": {"body": {**TEXT, "copy_to": ["all"]}}}, "all": TEXT},
        "all", r"receives the values of \[m.body\], \[title\] by \[copy_to\].*attach those fields",
    ),
    "a multi-field of a text": (
        {"title": {**TEXT, "fields": {"english": TEXT}}}, "title.english", r"multi-field.*attach \[title\]",
    ),
    "a multi-field of a keyword": (
        {"title": {"type": "keyword", "fields": {"english": TEXT}}}, "title.english", r"only \[title\], of type \[keyword\]",
    ),
    "an alias": ({"title": TEXT, "al": {"type": "alias", "path": "title"}}, "al", r"is an alias: attach the field \[title\]"),
    "a boost in the name": ({"a^b": TEXT}, "a^b", r"contains \[\^\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", REJECTED)
def test_fields_that_documents_do_not_contain_are_rejected(
    stack: Stack, make_index: Callable[..., str], case: str
) -> None:
    properties, field, reason = REJECTED[case]
    index = make_index(properties=properties)
    with pytest.raises(BadRequestError, match=reason):
        stack.attach(index, field)


def test_a_multi_field_can_be_a_default_of_searches(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(
        {"title": "whales"}, properties={"title": {**TEXT, "fields": {"english": {**TEXT, "analyzer": "english"}}}}
    )
    stack.attach(index, "title", defaults={"fields": ["title.english^2"]})
    stack.wait(index)
    hits = stack.gateway.search(index=index, query={"hybrid": {"query": "whale", "alpha": 0}})["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == ["0"]
