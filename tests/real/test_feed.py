"""Vectors follow every write, by any client in any way."""

import json
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from esblend.encoder.encoder import Encoder
from tests.conftest import Stack
from tests.packaged_encoder import packaged_encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return packaged_encoder()


def stored(stack: Stack, index: str, id_: str, routing: str | None = None) -> dict[str, Any]:
    """What esblend keeps in a document, vectors included."""
    answer = stack.es.search(
        index=index,
        query={"ids": {"values": [id_]}},
        source={"exclude_vectors": False},  # type: ignore[arg-type]
        routing=routing,
    )
    return dict(answer["hits"]["hits"][0]["_source"]["esblend"]["g1"])


def assert_vector_of(stack: Stack, index: str, id_: str, text: str, encoder: Encoder) -> None:
    passages = stored(stack, index, id_)["passages"]
    assert [(p["start"], p["end"]) for p in passages] == [(0, len(text))]
    np.testing.assert_allclose(passages[0]["vector"], encoder.encode_documents([text])[0], atol=2e-5)


def test_documents_of_before_the_attachment_are_embedded(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder
) -> None:
    index = make_index({"title": "Wing", "body": "Lift of a swept wing."}, {"title": "", "body": "Heat transfer."})
    stack.attach(index, "title", "body")
    status = stack.wait(index)
    assert (status["documents"], status["embedded"], status["pending"]) == (2, 2, 0)
    assert_vector_of(stack, index, "0", "Wing\nLift of a swept wing.", encoder)
    assert_vector_of(stack, index, "1", "Heat transfer.", encoder)


def test_a_write_by_plain_http_is_picked_up(stack: Stack, make_index: Callable[..., str], encoder: Encoder) -> None:
    index = make_index()
    stack.attach(index, "body")
    request = urllib.request.Request(
        f"{stack.described['elasticsearch']}/{index}/_doc/a",
        data=json.dumps({"body": "written by curl"}).encode(),
        headers={"content-type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request).close()
    stack.wait(index)
    assert_vector_of(stack, index, "a", "written by curl", encoder)


def test_a_partial_update_renews_the_vector(stack: Stack, make_index: Callable[..., str], encoder: Encoder) -> None:
    index = make_index({"title": "t", "body": "the old text"})
    stack.attach(index, "body")
    stack.wait(index)
    stack.es.update(index=index, id="0", doc={"body": "a new text altogether"})
    stack.wait(index)
    assert_vector_of(stack, index, "0", "a new text altogether", encoder)


def test_a_scripted_update_renews_the_vector(stack: Stack, make_index: Callable[..., str], encoder: Encoder) -> None:
    index = make_index({"body": "one"})
    stack.attach(index, "body")
    stack.wait(index)
    stack.es.update(index=index, id="0", script={"source": "ctx._source.body += ' and two'"})
    stack.wait(index)
    assert_vector_of(stack, index, "0", "one and two", encoder)


def test_an_update_of_another_field_keeps_the_vector(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"title": "t", "body": "same text"})
    stack.attach(index, "body")
    stack.wait(index)
    before = stored(stack, index, "0")
    stack.es.update(index=index, id="0", doc={"title": "changed"})
    stack.wait(index)
    assert stored(stack, index, "0") == before


def test_a_deleted_document_is_gone_and_nothing_waits_for_it(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "a"}, {"body": "b"})
    stack.attach(index, "body")
    stack.wait(index)
    stack.es.delete(index=index, id="0")
    status = stack.wait(index)
    assert (status["documents"], status["embedded"], status["pending"]) == (1, 1, 0)


def test_routed_documents_are_embedded_where_they_lie(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder
) -> None:
    index = make_index(number_of_shards=3)
    stack.attach(index, "body")
    for shard_key in ("anna", "bert", "carla"):
        stack.es.index(index=index, id=f"of-{shard_key}", routing=shard_key, document={"body": f"mail of {shard_key}"})
    assert stack.wait(index)["embedded"] == 3
    for shard_key in ("anna", "bert", "carla"):
        assert_vector_of(stack, index, f"of-{shard_key}", f"mail of {shard_key}", encoder)


def test_an_index_made_anew_under_its_name_is_not_taken_for_the_old_one(
    stack: Stack, make_index: Callable[..., str]
) -> None:
    index = make_index({"body": "first life"})
    stack.attach(index, "body")
    stack.wait(index)
    stack.es.indices.delete(index=index)
    make_index({"body": "second life"}, {"body": "of this name"})
    stack.attach(index, "body")
    status = stack.wait(index)
    assert (status["documents"], status["embedded"]) == (2, 2)


def test_a_long_document_is_split_and_covered_to_its_end(stack: Stack, make_index: Callable[..., str]) -> None:
    sentence = "Every sentence of this long report says something about turbines. "
    text = sentence * 120
    index = make_index({"title": "Report on turbines", "body": text})
    stack.attach(index, "title", "body")
    stack.wait(index)
    passages = stored(stack, index, "0")["passages"]
    whole = f"Report on turbines\n{text}"
    assert len(passages) > 4
    assert passages[0]["start"] == 0
    assert passages[-1]["end"] == len(whole)
    for before, after in pairwise(passages):
        assert before["start"] < after["start"] <= before["end"]
    assert all(abs(np.linalg.norm(p["vector"]) - 1) < 1e-4 for p in passages)


ODD = {
    "missing": {"title": "no body"},
    "empty": {"body": ""},
    "white space": {"body": "  \n\t "},
    "null": {"body": None},
    "array": {"body": ["first", "second"]},
    "nulls in an array": {"body": [None, "one", None]},
    "number": {"body": 42},
    "boolean": {"body": True},
    "emoji": {"body": "🚀🌍👩‍👩‍👧"},
    "Chinese": {"body": "混合搜索结合了关键词和向量"},
    "right to left": {"body": "بحث هجين في المستندات"},
    "control characters": {"body": "\x00\x01\x02 \u200b\ufeff"},
    "long": {"body": "word " * 100_000},
    "one long word": {"body": "a" * 5000},
    "not in any language": {"body": "xqzt vvrk 8#@! ~~~ ¤¤¤"},
}


def test_odd_documents_never_get_the_queue_stuck(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(*ODD.values(), {"body": "an ordinary one at the end"})
    stack.attach(index, "body")
    status = stack.wait(index, seconds=400)
    assert status["pending"] == 0
    assert status["dead_letters"] == 0
    assert status["without_text"] == len(["missing", "empty", "white space", "null", "control characters"])
    assert status["embedded"] == len(ODD) + 1 - status["without_text"]
    assert stored(stack, index, "1")["passages"] == []


def test_a_text_that_is_taken_away_takes_its_vector_along(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"title": "t", "body": "will vanish"})
    stack.attach(index, "body")
    stack.wait(index)
    stack.es.update(index=index, id="0", doc={"body": ""})
    status = stack.wait(index)
    assert (status["embedded"], status["without_text"]) == (0, 1)
    assert stored(stack, index, "0")["passages"] == []


def test_nested_objects_and_dotted_names_are_read(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder
) -> None:
    properties = {
        "page": {"properties": {"head": {"type": "text"}, "parts": {"properties": {"text": {"type": "text"}}}}}
    }
    index = make_index(
        {"page": {"head": "Head", "parts": [{"text": "one"}, {"text": "two"}]}},
        {"page.head": "Dotted", "page.parts.text": "names"},
        properties=properties,
    )
    stack.attach(index, "page.head", "page.parts.text")
    stack.wait(index)
    assert_vector_of(stack, index, "0", "Head\none\ntwo", encoder)
    assert_vector_of(stack, index, "1", "Dotted\nnames", encoder)
