"""Other Elasticsearch versions, from attaching to detaching. `ESBLEND_TEST_VERSIONS` names them; default: 8.16."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Stack, start_stack, stop_stack
from tests.real.faults import wait_for
from tests.real.gateways import gateway_with
from tests.real.test_client_versions import check_other_client, other_client  # noqa: F401

VERSIONS = os.environ.get("ESBLEND_TEST_VERSIONS", "8.16").split()
TEXT = "marine animals"
DOCUMENTS = {
    "whale": "Large mammals of the sea that breathe air.",
    "bread": "Flour, water, yeast and an oven.",
    "rocket": "Engines that carry satellites into orbit.",
}


@pytest.fixture(params=VERSIONS, scope="module")
def old_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = start_stack(tmp_path_factory.mktemp("old"), "--es-version", request.param, own_elasticsearch=True)
    yield started
    stop_stack(started)


def best(stack: Stack, **options: object) -> str:
    query = {"hybrid": {"query": TEXT, **options}}
    return str(stack.gateway.search(index="articles", query=query)["hits"]["hits"][0]["_id"])


def test_attach_index_search_migrate_roll_back_detach(old_stack: Stack) -> None:
    stack, path = old_stack, "/_esblend/indices/articles"
    stack.es.indices.create(index="articles", mappings={"properties": {"body": {"type": "text"}}})
    for id_, text in DOCUMENTS.items():
        stack.es.index(index="articles", id=id_, document={"body": text}, refresh=True)
    stack.attach("articles", "body")
    assert stack.wait("articles")["embedded"] == 3
    assert {best(stack), best(stack, blending="windowed"), best(stack, fusion="rrf")} == {"whale"}
    retriever = {"rrf": {"retrievers": [
        {"standard": {"query": {"match": {"body": "sea"}}}},
        {"knn": {"field": "esblend", "query_vector_builder": {"text_embedding": {"model_text": TEXT}}, "k": 3,
                 "num_candidates": 10}},
    ]}}  # fmt: skip
    response = stack.gateway.search(index="articles", body={"retriever": retriever})
    assert response["hits"]["hits"][0]["_id"] == "whale"
    stack.es.update(index="articles", id="bread", doc={"body": "Dolphins are mammals of the sea."}, refresh=True)
    stack.wait("articles")
    stack.call("POST", f"{path}/generations", {"passages": {"max_tokens": 64}})
    wait_for("g2", lambda: stack.call("GET", f"{path}/generations")["generations"]["g2"]["missing"] == 0)
    for generation in ("g2", "g1", "g2"):
        stack.call("POST", f"{path}/generations/{generation}/_activate")
        assert best(stack) in ("whale", "bread")
    dropped = stack.esblend("migrate", "articles", "--drop-old", "--json")
    assert dropped.returncode == 0, dropped.stderr
    verified = stack.esblend("verify", "articles", "--json")
    assert verified.returncode == 0, verified.stdout
    stack.call("DELETE", path)
    assert stack.es.count(index="articles")["count"] == 3


@pytest.fixture(scope="module")
def searched(old_stack: Stack) -> Iterator[str]:
    """The documents in one attached index with one shard."""
    index, properties = "searched", {"body": {"type": "text"}, "kind": {"type": "keyword"}}
    old_stack.es.indices.create(index=index, mappings={"properties": properties}, settings={"number_of_shards": 1})
    for id_, text in DOCUMENTS.items():
        old_stack.es.index(index=index, id=id_, document={"body": text, "kind": "all"}, refresh=True)
    old_stack.attach(index, "body")
    old_stack.wait(index)
    yield index
    old_stack.es.indices.delete(index=index)


HYBRID = {"hybrid": {"query": TEXT}}
SEMANTIC: dict[str, Any] = {"semantic": {"query": TEXT}}
ALL, WORDS = {"match_all": {}}, {"match": {"body": "sea"}}
KNN = {
    "field": "esblend",
    "query_vector_builder": {"text_embedding": {"model_text": TEXT}},
    "k": 3,
    "num_candidates": 10,
}
RRF = {"rrf": {"retrievers": [{"knn": KNN}, {"standard": {"query": WORDS}}]}}
SEARCHES: dict[str, dict[str, Any]] = {
    "hybrid": {"query": HYBRID},
    "hybrid, filtered": {"query": {"hybrid": {"query": TEXT, "filter": {"term": {"kind": "all"}}}}},
    "hybrid, windowed": {"query": {"hybrid": {"query": TEXT, "blending": "windowed"}}},
    "hybrid, rrf": {"query": {"hybrid": {"query": TEXT, "fusion": "rrf"}}},
    "hybrid, options of the page": {
        "query": {"hybrid": {"query": TEXT, "inner_hits": {}}}, "highlight": {"fields": {"body": {}}}, "explain": True,
        "aggs": {"best": {"max": {"script": "_score"}}}, "collapse": {"field": "kind", "inner_hits": {"name": "all"}},
    },
    "hybrid, a clause": {"query": {"bool": {"must": [HYBRID], "filter": [{"term": {"kind": "all"}}]}}},
    "semantic": {"query": SEMANTIC},
    "semantic, options": {"query": {"semantic": {"query": TEXT, "filter": ALL, "inner_hits": {}, "min_score": 0.1, "boost": 2}}},
    "semantic, a clause": {"query": {"bool": {"must": [SEMANTIC], "should": [WORDS]}}, "highlight": {"fields": {"body": {}}}},
    "semantic, a leg": {"retriever": {"rrf": {"retrievers": [{"standard": {"query": SEMANTIC}}, {"standard": {"query": WORDS}}]}}},
    "neural": {"query": {"neural": {"body": {"query_text": TEXT, "k": 2}}}},
    "knn by text": {"knn": KNN},
    "rrf": {"retriever": RRF, "explain": True},
    "rrf, query and fields": {"retriever": {"rrf": {"query": TEXT}}},
    "linear": {"retriever": {"linear": {"retrievers": [{"retriever": {"knn": KNN}}, {"retriever": RRF}], "normalizer": "minmax"}}},
    "pinned": {"retriever": {"pinned": {"ids": ["whale"], "retriever": RRF}}, "explain": True},
    "diversify": {"retriever": {"diversify": {"type": "mmr", "field": "esblend", "lambda": 0.9, "size": 2, "retriever": RRF}}},
    "rescorer": {"retriever": {"rescorer": {"retriever": RRF, "rescore": {"query": {"rescore_query": WORDS}}}}},
}  # fmt: skip


@pytest.mark.parametrize("kind", SEARCHES)
def test_every_kind_of_search(old_stack: Stack, searched: str, kind: str) -> None:
    response = old_stack.gateway.search(index=searched, body=copy.deepcopy(SEARCHES[kind]))
    assert response["hits"]["hits"][0]["_id"] == "whale"
    assert "degraded" not in response.get("esblend", {})


def test_a_semantic_clause_matches_k_documents(old_stack: Stack, searched: str) -> None:
    """Servers before 8.15 do not know `k` in a `knn` query."""
    for k in (1, 2):
        query = {"semantic": {"query": TEXT, "k": k}}
        response = old_stack.gateway.search(index=searched, query=query)
        assert (response["hits"]["total"]["value"], response["hits"]["hits"][0]["_id"]) == (k, "whale")
        assert old_stack.gateway.count(index=searched, query=query)["count"] == k


def test_approximate_plans_find_what_the_exact_one_finds(old_stack: Stack, searched: str, tmp_path: Path) -> None:
    with gateway_with(old_stack, tmp_path, exact_knn_documents="0") as approximate:
        for options in ({}, {"blending": "windowed"}, {"fusion": "rrf"}):
            query = {"hybrid": {"query": TEXT, **options}}
            response, expected = (
                client.search(index=searched, query=query, size=2, profile=True)
                for client in (approximate, old_stack.gateway)
            )
            assert response["esblend"]["profile"]["plan"]["semantic"] == "approximate kNN"
            assert [hit["_id"] for hit in response["hits"]["hits"]] == [hit["_id"] for hit in expected["hits"]["hits"]]


@pytest.mark.parametrize(
    ("vector", "since"), [({"type": "int8_hnsw", "oversample": 3}, "8.18"), ({"element_type": "bfloat16"}, "9.3")]
)
def test_what_this_version_lacks_is_refused(old_stack: Stack, vector: dict[str, object], since: str) -> None:
    from elasticsearch import ApiError

    old_stack.es.options(ignore_status=400).indices.create(
        index="plain", mappings={"properties": {"body": {"type": "text"}}}
    )
    with pytest.raises(ApiError, match=rf"needs Elasticsearch {since} or later"):
        old_stack.attach("plain", "body", vector=vector)


def test_the_other_major_version_of_the_client(
    old_stack: Stack,
    index_name: str,
    other_client: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """An environment with the client 9 works with a server 8: requests keep the media type of version 8."""
    check_other_client(old_stack, index_name, other_client, tmp_path)
