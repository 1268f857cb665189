"""Other Elasticsearch versions, from attaching to detaching. `ESBLEND_TEST_VERSIONS` names them; default: 8.16."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Stack, start_stack, stop_stack
from tests.real.faults import wait_for
from tests.real.test_client_versions import check_other_client, other_client  # noqa: F401

VERSIONS = os.environ.get("ESBLEND_TEST_VERSIONS", "8.16").split()
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
    query = {"hybrid": {"query": "marine animals", **options}}
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
        {"knn": {"field": "esblend", "query_vector_builder": {"text_embedding": {"model_text": "marine animals"}}, "k": 3,
                 "num_candidates": 10}},
    ]}}  # fmt: skip
    found = stack.gateway.search(index="articles", body={"retriever": retriever})
    assert found["hits"]["hits"][0]["_id"] == "whale"
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
