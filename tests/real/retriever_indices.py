"""Three small indices for retriever searches: without attachment, with passages, with a flat vector."""

from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from tests.conftest import Stack

PLAIN, PASSAGES, FLAT = "forms-plain", "forms-passages", "forms-flat"
TEXTS = [
    "Whales sing in the sea.",
    "Bread needs flour and yeast.",
    "A kitten drinks milk.",
    "The sea is deep and blue.",
]
X, Y = {"match": {"b": "x"}}, {"match": {"b": "y"}}
LEG_X, LEG_Y = {"standard": {"query": X}}, {"standard": {"query": Y}}


@pytest.fixture(scope="module")
def retriever_indices(stack: Stack) -> Iterator[None]:
    properties = {
        "b": {"type": "text"}, "title": {"type": "text"}, "n": {"type": "integer"},
        "v": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm", "index": True},
        "parts": {"type": "nested", "properties": {"p": {"type": "keyword"}}},
    }  # fmt: skip
    stack.es.indices.create(
        index=PLAIN, mappings={"properties": properties}, settings={"number_of_shards": 2, "number_of_replicas": 0}
    )
    operations: list[dict[str, Any]] = []
    for number in range(40):
        document = {"b": " ".join(["x"] * (number % 4) + ["y"] * (number % 3)), "n": number, "title": "deep sea"}
        if number % 5:
            document["v"] = [number / 10 - 2, (number * 7 % 40) / 20 - 1]
        operations += [{"index": {"_id": str(number)}}, document]
    assert not stack.es.bulk(index=PLAIN, operations=operations, refresh=True)["errors"]
    for index, options in ((PASSAGES, {}), (FLAT, {"vector": {"layout": "flat"}})):
        stack.es.indices.create(index=index, mappings={"properties": {"title": {"type": "text"}}})
        for number, text in enumerate(TEXTS):
            stack.es.index(index=index, id=f"{index[6]}{number}", document={"title": text}, refresh=True)
        stack.attach(index, "title", **options)
        stack.wait(index)
    yield
    stack.es.indices.delete(index=f"{PLAIN},{PASSAGES},{FLAT}")


def search(client: Elasticsearch, index: str = PLAIN, **body: Any) -> dict[str, Any]:
    return dict(client.search(index=index, body=body).body)


def ids_and_scores(response: dict[str, Any]) -> list[tuple[str, float]]:
    return [(hit["_id"], hit["_score"]) for hit in response["hits"]["hits"]]


def ids(response: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in response["hits"]["hits"]]


def diversify(inner: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"diversify": {"type": "mmr", "field": "v", "lambda": 0.4, "size": 5, "retriever": inner, **options}}


def rescorer(inner: dict[str, Any], window: int = 12) -> dict[str, Any]:
    return {"rescorer": {"retriever": inner, "rescore": {"window_size": window, "query": {"rescore_query": Y}}}}


def knn(**options: Any) -> dict[str, Any]:
    return {"knn": {"field": "v", "query_vector": [1.0, 0.5], "k": 8, "num_candidates": 20, **options}}
