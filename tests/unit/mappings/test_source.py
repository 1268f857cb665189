"""What counts as a document's text."""

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.attachment import Generation, ModelIdentity, PassageSettings, VectorOptions
from mappings.source import can_be_guarded, fingerprint, source_text

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


def of(text: Any, field: str = "body", **changes: Any) -> str:
    return fingerprint({field: text}, [field], generation(**changes))


def test_a_fingerprint_is_of_values_model_and_settings() -> None:
    known = of("text")
    assert known == of("text")
    others = [
        of("texts"), of("text", "title"), of("text", digest="e"), of("text", max_tokens=100), of("text", overlap_tokens=10)
    ]  # fmt: skip
    assert len({known, *others}) == 6


def test_a_fingerprint_tells_apart_what_gives_the_same_text() -> None:
    fields = ["title", "body"]
    first, other = {"title": "a", "body": "b"}, {"body": ["a", "b"]}
    assert source_text(first, fields).text == source_text(other, fields).text
    assert fingerprint(first, fields, generation()) != fingerprint(other, fields, generation())
    assert of("a\0b") != of(["a", "b"])


def test_a_fingerprint_is_sha_256_as_the_processor_feeds_it() -> None:
    salt = b'["d", 250, 30, "sentences", "joined", "passages", 3, true, null]'
    parts = [salt, b"body", b"4", "é".encode(), b"?", b"\x05\0\0\0", b"\1"]
    expected = base64.b64encode(hashlib.sha256(b"\0".join(parts)).digest()).decode()
    assert of(["é", None, ["\ud800", 5], {"an": "object"}, True]) == expected


@pytest.mark.parametrize(("value", "expected"), [("1", True), (2**63 - 1, True), (2**63, False), (2.0**70, False)])
def test_whole_numbers_beyond_64_bits_cannot_be_guarded(value: Any, expected: bool) -> None:
    assert can_be_guarded({"body": ["x", value]}, ["body"]) is expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("aé中 ", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "a.b"]), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "a.b"]), json_values))
def test_no_source_is_too_odd(source: dict[str, Any]) -> None:
    fields = ["a", "a.b", "b.a.b"]
    assert isinstance(source_text(source, fields).text, str)
    assert len(fingerprint(source, fields, generation())) == 44
