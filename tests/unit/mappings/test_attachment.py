"""Attachments: parsed strictly, stored in `_meta`, read back the same."""

from typing import Any

import pytest

from esblend.errors import EsblendError
from mappings.attachment import (
    Attachment,
    Generation,
    ModelIdentity,
    PassageSettings,
    VectorOptions,
    read_attachment,
)
from mappings.builder import mapping_additions
from mappings.fields import check_text_fields, text_fields
from mappings.lifecycle import choose_field
from mappings.requests import parse_attach_request


def attachment() -> Attachment:
    model = ModelIdentity(name="minilm", digest="abc", dims=384)
    return Attachment(
        field="esblend",
        source_fields=["title", "body"],
        active="g1",
        generations={
            "g1": Generation(model=model, passages=PassageSettings(), vector=VectorOptions(type="hnsw", m=32))
        },
    )


def test_an_attachment_survives_the_mapping() -> None:
    assert read_attachment({"_meta": {"other": 1, "esblend": attachment().to_meta()}}) == attachment()
    assert read_attachment({}) is None
    assert read_attachment({"_meta": {"other": 1}}) is None


def test_a_newer_format_is_refused_not_guessed() -> None:
    with pytest.raises(EsblendError, match="format"):
        read_attachment({"_meta": {"esblend": {**attachment().to_meta(), "format": 2}}})


def test_the_mapping_of_a_generation() -> None:
    generation = mapping_additions(attachment())["esblend"]["properties"]["g1"]["properties"]
    assert generation["passages"]["type"] == "nested"
    assert generation["passages"]["properties"]["vector"] == {
        "type": "dense_vector",
        "dims": 384,
        "index": True,
        "similarity": "dot_product",
        "index_options": {"type": "hnsw", "m": 32},
    }
    assert generation["fingerprint"] == {"type": "keyword"}


REFUSED: dict[str, tuple[Any, str]] = {
    "no object": ([], "source_fields"),
    "no source fields": ({}, "source_fields"),
    "an empty list": ({"source_fields": []}, "source_fields"),
    "a field twice": ({"source_fields": ["a", "a"]}, "twice"),
    "an unknown key": ({"source_fields": ["a"], "modle": "x"}, "modle"),
    "passages too small": ({"source_fields": ["a"], "passages": {"max_tokens": 2}}, "max_tokens"),
    "more overlap than half": (
        {"source_fields": ["a"], "passages": {"max_tokens": 100, "overlap_tokens": 80}},
        "overlap_tokens",
    ),
    "an unknown vector type": ({"source_fields": ["a"], "vector": {"type": "ivf"}}, "vector.type"),
    "guard": ({"source_fields": ["a"], "guard": "yes please"}, "guard"),
    "versioning": ({"source_fields": ["a"], "versioning": "mine"}, "versioning"),
    "alpha out of range": ({"source_fields": ["a"], "defaults": {"alpha": 2}}, "defaults.alpha"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_requests_are_refused_with_the_name_of_the_key(case: str) -> None:
    body, word = REFUSED[case]
    with pytest.raises(EsblendError) as caught:
        parse_attach_request(body)
    assert caught.value.status == 400
    assert word in caught.value.reason


PROPERTIES = {
    "title": {"type": "text"},
    "price": {"type": "long"},
    "page": {"properties": {"text": {"type": "text"}, "kind": {"type": "keyword"}}},
    "comments": {"type": "nested", "properties": {"text": {"type": "text"}}},
}


def test_text_fields_are_found_below_objects() -> None:
    assert text_fields(PROPERTIES) == ["title", "page.text"]
    check_text_fields("i", PROPERTIES, parse_attach_request({"source_fields": ["page.text"]}))


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("titel", r"no field \[titel\].*\[title\]"),
        ("price", "long"),
        ("page", "object"),
        ("page.kind", "keyword"),
        ("comments.text", "nested"),
    ],
)
def test_fields_without_text_are_refused(field: str, word: str) -> None:
    with pytest.raises(EsblendError, match=word):
        check_text_fields("i", PROPERTIES, parse_attach_request({"source_fields": [field]}))


def test_the_object_field_avoids_what_the_index_uses() -> None:
    ours = mapping_additions(attachment())
    assert choose_field({}) == ("esblend", 1)
    assert choose_field({"esblend": {"type": "text"}}) == ("esblend_1", 1)
    assert choose_field({"esblend": {"properties": {"x": {"type": "text"}}}}) == ("esblend_1", 1)
    assert choose_field(ours) == ("esblend", 2)


def test_the_probe_of_a_service_does_not_decide_equality() -> None:
    first, other = (ModelIdentity(name="openai:m", digest="d", dims=3, probe=(0.6, value)) for value in (0.8, 0.80001))
    assert first == other
    assert hash(first) == hash(other)
    assert first != ModelIdentity(name="openai:m", digest="e", dims=3, probe=first.probe)
