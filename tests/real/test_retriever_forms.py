"""Forms of a retriever search beside the plain tree: the form before 8.16, `source`, other formats; and `pinned`."""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from elasticsearch import BadRequestError

from tests.conftest import Stack
from tests.real.retriever_indices import (
    LEG_X,
    LEG_Y,
    PASSAGES,
    PLAIN,
    TEXTS,
    X,
    Y,
    ids_and_scores,
    search,
)
from tests.real.retriever_indices import retriever_indices as _indices  # noqa: F401  the fixture

pytestmark = pytest.mark.usefixtures("_indices")


def test_query_and_knn_with_rank_is_the_tree_it_stands_for(stack: Stack) -> None:
    section = {
        "field": "v",
        "query_vector": [1.0, 0.5],
        "k": 8,
        "num_candidates": 20,
        "filter": {"range": {"n": {"gte": 5}}},
    }
    tree = {"rrf": {"retrievers": [LEG_X, {"knn": section}], "rank_constant": 20, "rank_window_size": 15}}
    aggregations = {"n": {"max": {"field": "n"}}}
    expected = search(stack.gateway, retriever=tree, size=10, aggs=aggregations)
    for window in ("rank_window_size", "window_size"):
        rank = {"rrf": {"rank_constant": 20, window: 15}}
        response = search(stack.gateway, query=X, knn=section, rank=rank, aggs=aggregations)
        assert ids_and_scores(response) == ids_and_scores(expected)
        assert response["hits"]["total"] == expected["hits"]["total"]
        assert response["aggregations"] == expected["aggregations"]
    assert ids_and_scores(search(stack.gateway, query=X, knn=[section], rank={"rrf": {}}, size=5)) == ids_and_scores(
        search(stack.gateway, retriever={"rrf": {"retrievers": [LEG_X, {"knn": section}]}}, size=5)
    )


def test_sub_searches_with_rank(stack: Stack) -> None:
    response = search(
        stack.gateway, sub_searches=[{"query": X}, {"query": Y}], rank={"rrf": {"rank_window_size": 20}}, size=20
    )
    tree = {"rrf": {"retrievers": [LEG_X, LEG_Y], "rank_window_size": 20}}
    assert ids_and_scores(response) == ids_and_scores(search(stack.gateway, retriever=tree, size=20))


def test_text_in_a_knn_section_with_rank(stack: Stack) -> None:
    builder = {"text_embedding": {"model_text": "ocean"}}
    section = {"field": "esblend", "k": 4, "num_candidates": 20, "query_vector_builder": builder}
    response = search(stack.gateway, PASSAGES, query={"match": {"title": "bread"}}, knn=section, rank={"rrf": {}})
    assert len(response["hits"]["hits"]) == len(TEXTS)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"query": X, "rank": {"rrf": {}}}, "requires a minimum of [2] result sets"),
        (
            {"sub_searches": [{"query": X}, {"query": Y}], "rank": {"rrf": {}}, "size": 11},
            "[rank] requires [rank_window_size: 10]",
        ),
        (
            {"sub_searches": [{"query": X}, {"query": Y}], "query": X, "rank": {"rrf": {}}},
            "both [query] and [sub_searches]",
        ),
        ({"sub_searches": [{"query": X}, {"query": Y}], "rank": {"rrf": {"x": 1}}}, "unknown field [x]"),
        (
            {"sub_searches": [{"query": X}, {"query": Y}], "sort": ["n"], "rank": {"rrf": {}}},
            "cannot be used with [sort]",
        ),
        ({"query": X, "knn": {"field": "v", "inner_hits": {}}, "rank": {"rrf": {}}}, "[knn.inner_hits]"),
    ],
)
def test_errors_of_the_form_with_rank(stack: Stack, body: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        search(stack.gateway, **body)
    assert reason in str(caught.value.body)


# --- source and other formats


TREE = {"rrf": {"retrievers": [LEG_X, LEG_Y]}}


def test_a_search_in_the_url_is_answered(stack: Stack) -> None:
    params = {"source": json.dumps({"retriever": TREE, "size": 3}), "source_content_type": "application/json"}
    headers = {"accept": "application/json"}
    response = stack.gateway.perform_request("GET", f"/{PLAIN}/_search", params=params, headers=headers)
    assert ids_and_scores(dict(response.body)) == ids_and_scores(search(stack.gateway, retriever=TREE, size=3))
    plain = {**params, "source": json.dumps({"query": X, "size": 2})}
    bodies = [dict(client.perform_request("GET", f"/{PLAIN}/_search", params=plain, headers=headers).body)
              for client in (stack.gateway, stack.es)]  # fmt: skip
    assert ids_and_scores(bodies[0]) == ids_and_scores(bodies[1])


def _cbor(value: Any) -> bytes:
    if isinstance(value, str):
        raw = value.encode()
        return (bytes([0x60 + len(raw)]) if len(raw) < 24 else bytes([0x78, len(raw)])) + raw
    if isinstance(value, int):
        return bytes([value])
    if isinstance(value, list):
        return bytes([0x80 + len(value)]) + b"".join(map(_cbor, value))
    return bytes([0xA0 + len(value)]) + b"".join(_cbor(key) + _cbor(inner) for key, inner in value.items())


def _smile(value: Any, *, key: bool = False) -> bytes:
    if isinstance(value, str):
        raw = value.encode()
        return bytes([(0x80 if key else 0x40) + len(raw) - 1]) + raw
    if isinstance(value, int):
        return bytes([0xC0 + 2 * value])
    if isinstance(value, list):
        return b"\xf8" + b"".join(map(_smile, value)) + b"\xf9"
    return b"\xfa" + b"".join(_smile(name, key=True) + _smile(inner) for name, inner in value.items()) + b"\xfb"


YAML = "retriever:\n  rrf:\n    retrievers:\n      - standard:\n          query: {match: {b: x}}\n"
FORMATS: dict[str, tuple[bytes, bytes, bytes]] = {
    "application/yaml": (YAML.encode(), b"query:\n  hybrid:\n    query: x\n", b"query: {match: {b: 'x rrf: linear'}}\n"),
    "application/cbor": tuple(_cbor(body) for body in (
        {"retriever": TREE}, {"query": {"hybrid": {"query": "x"}}}, {"query": {"match": {"b": "x rrf linear"}}})),  # type: ignore[dict-item]
    "application/smile": tuple(b":)\n\x00" + _smile(body) for body in (
        {"retriever": {"rrf": {"retrievers": [{"standard": {"query": {"match": {"b": "x"}}}}]}}},
        {"query": {"hybrid": {"query": "x"}}}, {"query": {"match": {"b": "x rrf linear"}}})),  # type: ignore[dict-item]
}  # fmt: skip


@pytest.mark.parametrize("kind", list(FORMATS))
def test_fused_searches_in_other_formats_are_refused_by_name_and_plain_ones_pass(stack: Stack, kind: str) -> None:
    *fused, plain = FORMATS[kind]

    def send(body: bytes) -> dict[str, Any]:
        headers = {"content-type": kind, "accept": "application/json"}
        request = Request(f"{stack.described['gateway']}/{PLAIN}/_search", data=body, headers=headers)
        with urlopen(request, timeout=60) as response:
            return dict(json.load(response))

    for body in fused:
        with pytest.raises(HTTPError) as caught:
            send(body)
        with caught.value as response:
            assert response.status == 400
            assert "send a fused search as JSON" in json.load(response)["error"]["reason"]
    assert ids_and_scores(send(plain)) == ids_and_scores(search(stack.es, query={"match": {"b": "x rrf linear"}}))


# --- pinned


@pytest.mark.parametrize(
    ("pinned", "reason"),
    [
        ({"ids": ["1"], "retriever": {"standard": {}}}, "Underlying query cannot be null for pinned retriever"),
        ({"ids": ["1", "1"], "retriever": LEG_X}, "duplicate id found in list: 1"),
        ({"ids": ["1"], "retriever": {"standard": {"query": X, "sort": ["n"]}}}, "only supports sorting by score"),
        ({"ids": ["1"], "docs": [{"_id": "1"}], "retriever": LEG_X}, "cannot be specified at the same time"),
        ({"ids": [], "retriever": LEG_X}, "must be provided and non-empty"),
    ],
)
def test_pinned_refuses_what_elasticsearch_refuses(stack: Stack, pinned: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        search(stack.gateway, retriever={"pinned": pinned})
    assert reason in caught.value.body["error"]["reason"]
