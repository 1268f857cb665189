"""What counts as a document's text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.attachment import Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.source import fingerprint, source_text

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "a string is taken as it is": ({"body": " a  b\n"}, " a  b\n"),
    "missing": ({}, ""),
    "null": ({"body": None}, ""),
    "white space counts as none": ({"body": " \t"}, ""),
    "an array is joined": ({"body": ["a", None, "", "b"]}, "a\nb"),
    "an array within an array": ({"body": [["a"], ["b", ["c"]]]}, "a\nb\nc"),
    "numbers as Elasticsearch indexes them": ({"body": [1, 2.5, True, False]}, "1\n2.5\ntrue\nfalse"),
    "an object has no text of its own": ({"body": {"deep": "x"}}, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_one_field(case: str) -> None:
    source, expected = CASES[case]
    assert source_text(source, ["body"]).text == expected


@pytest.mark.parametrize(
    "source",
    [{"a": {"b": {"c": "x"}}}, {"a.b.c": "x"}, {"a": {"b.c": "x"}}, {"a.b": {"c": "x"}}, {"a": [{"b": {"c": "x"}}]}],
)
def test_dotted_paths(source: dict[str, Any]) -> None:
    assert source_text(source, ["a.b.c"]).text == "x"


def test_fields_are_joined_and_the_first_is_the_title() -> None:
    both = source_text({"title": "T", "body": "B"}, ["title", "body"])
    assert (both.text, both.title) == ("T\nB", "T")


def test_without_a_second_text_there_is_no_title() -> None:
    assert source_text({"title": "T"}, ["title", "body"]).title == ""
    assert source_text({"body": "B"}, ["title", "body"]) == source_text({"body": "B"}, ["body"])


def generation(**changes: Any) -> Generation:
    model = ModelIdentity(name="m", digest=changes.pop("digest", "d"), dims=3)
    return Generation(model=model, passages=PassageSettings(**changes), vector=VectorOptions())


def test_a_fingerprint_is_of_text_model_and_settings() -> None:
    known = fingerprint("text", ["body"], generation())
    assert known == fingerprint("text", ["body"], generation())
    others = [
        fingerprint("texts", ["body"], generation()),
        fingerprint("text", ["title"], generation()),
        fingerprint("text", ["body"], generation(digest="e")),
        fingerprint("text", ["body"], generation(max_tokens=100)),
        fingerprint("text", ["body"], generation(overlap_tokens=10)),
    ]
    assert len({known, *others}) == 6


def test_a_lone_surrogate_has_a_fingerprint() -> None:
    assert len(fingerprint("\ud800", ["body"], generation())) == 40


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("aé中 ", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "a.b"]), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "a.b"]), json_values))
def test_no_source_is_too_odd(source: dict[str, Any]) -> None:
    assert isinstance(source_text(source, ["a", "a.b", "b.a.b"]).text, str)
