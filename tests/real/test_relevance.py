"""The blend is better than each of its legs and than RRF, measured with real judgements through the real stack."""

from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch.helpers import bulk

from tests.collections import Collection, find_collection, ndcg, read_collection
from tests.conftest import Stack

FIELDS = ["title", "text"]
SYSTEMS: dict[str, Callable[[str], dict[str, Any]]] = {
    "BM25": lambda text: {"combined_fields": {"query": text, "fields": FIELDS}},
    "kNN": lambda text: {"hybrid": {"query": text, "alpha": 1}},
    "RRF": lambda text: {"hybrid": {"query": text, "fusion": "rrf", "rank_window_size": 100}},
    "minmax": lambda text: {"hybrid": {"query": text, "normalizer": "minmax", "alpha": 0.5, "rank_window_size": 100}},
    "blend": lambda text: {"hybrid": {"query": text}},
}
ENGLISH = {"type": "text", "analyzer": "english"}

# A tiny collection for machines without the test data: each query shares its words with a wrong document too.
SMALL = Collection(
    documents=[
        {
            "_id": "engine",
            "title": "Engine trouble",
            "text": "When the motor of an automobile will not start, check the battery.",
        },
        {
            "_id": "train",
            "title": "Locomotives",
            "text": "The car behind the locomotive carries coal; it will start slowly.",
        },
        {"_id": "kitten", "title": "Kittens", "text": "Young cats need food several times a day."},
        {"_id": "food", "title": "Food prices", "text": "Several times a year young economists look at food."},
        {"_id": "virus", "title": "Influenza", "text": "Influenza is caught from droplets in the air."},
        {"_id": "rain", "title": "Rain", "text": "Droplets in the air form clouds, and rain falls."},
    ],
    queries={"1": "my car does not start", "2": "feeding a baby cat", "3": "how people get the flu"},
    judgements={"1": {"engine": 1}, "2": {"kitten": 1}, "3": {"virus": 1}},
)


# Every n-th query, and every n-th of the documents that are not judged for them. docs/relevance.md has the figures of the whole.
PARTS = {"cranfield": (1, 1), "scifact": (2, 5)}


def part_of(collection: Collection, each_query: int, each_document: int) -> Collection:
    """A smaller collection that has the documents which are judged for its queries."""
    ids = sorted(collection.judgements)[::each_query]
    judgements = {id_: collection.judgements[id_] for id_ in ids}
    judged = set().union(*judgements.values())
    others = [document for document in collection.documents if document["_id"] not in judged][::each_document]
    chosen = judged | {document["_id"] for document in others}
    return Collection(
        [document for document in collection.documents if document["_id"] in chosen],
        {id_: collection.queries[id_] for id_ in ids},
        judgements,
    )


def measure(stack: Stack, name: str, collection: Collection, seconds: int) -> dict[str, float]:
    """nDCG@10 of each system over the collection's test queries."""
    index = f"relevance-{name}"
    mappings = {"properties": dict.fromkeys(FIELDS, ENGLISH)}
    stack.es.indices.create(index=index, mappings=mappings, settings={"number_of_shards": 1, "number_of_replicas": 0})
    try:
        actions = (
            {"_id": document["_id"], "title": document["title"], "text": document["text"]}
            for document in collection.documents
        )
        bulk(stack.es, actions, index=index, refresh=True)
        stack.attach(index, *FIELDS)
        status = stack.wait(index, seconds=seconds)
        assert status["embedded"] + status["without_text"] == len(collection.documents)
        return {system: _mean(stack, index, collection, query) for system, query in SYSTEMS.items()}
    finally:
        stack.es.indices.delete(index=index)


def _mean(stack: Stack, index: str, collection: Collection, query: Callable[[str], dict[str, Any]]) -> float:
    total = 0.0
    for id_, text in collection.queries.items():
        hits = stack.gateway.search(index=index, query=query(text), size=10, source=False)["hits"]["hits"]
        total += ndcg([hit["_id"] for hit in hits], collection.judgements[id_])
    return total / len(collection.queries)


@pytest.mark.parametrize("name", ["cranfield", "scifact"])
def test_the_blend_is_above_its_legs_and_rrf(stack: Stack, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = find_collection(name)
    collection = part_of(read_collection(folder), *PARTS[name]) if folder else SMALL
    measured = measure(stack, name, collection, seconds=900)
    part = f"{len(collection.queries)} queries and {len(collection.documents)} documents of {name}"
    source = part if folder else f"a small stand-in, since the collection {name} is not on this machine"
    with capsys.disabled():
        print(f"\nnDCG@10 on {source}: " + ", ".join(f"{system} {value:.3f}" for system, value in measured.items()))
    if folder:
        assert measured["blend"] > max(measured["BM25"], measured["kNN"], measured["RRF"])
        assert measured["minmax"] > measured["RRF"]
        # On cranfield the two linear fusions are equal within 0.0001: approximate kNN decides which of them is first.
        assert measured["blend"] > measured["minmax"] - 0.002
    else:
        assert measured["blend"] >= max(measured["BM25"], measured["kNN"])


def test_ndcg_by_hand() -> None:
    assert ndcg(["a", "x", "b"], {"a": 1, "b": 1}) == pytest.approx((1 + 0.5) / (1 + 1 / 1.5849625), abs=1e-6)
    assert ndcg([], {"a": 1}) == 0
