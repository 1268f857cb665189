"""After a rollover the new index may not be attached yet: searches over the alias still work, and say what is missing."""

from collections.abc import Iterator

import pytest
from elasticsearch import NotFoundError

from tests.conftest import Stack


@pytest.fixture(scope="module", params=["passages", "flat"])
def alias(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    """An alias over an attached index and, after its rollover, one that is not attached."""
    name = f"rolled-{request.param}"
    first = f"{name}-000001"
    mapping = {"properties": {"body": {"type": "text"}}}
    stack.es.indices.create(index=first, mappings=mapping, aliases={name: {"is_write_index": True}})
    stack.es.index(index=name, id="old", document={"body": "Whales sing in the sea."})
    stack.attach(first, "body", vector={"layout": request.param})
    stack.wait(first)
    stack.es.indices.rollover(alias=name, mappings=mapping)
    stack.es.index(index=name, id="new", document={"body": "Dolphins whistle in the sea."}, refresh=True)
    yield name
    stack.es.indices.delete(index=f"{name}-000001,{name}-000002")


@pytest.mark.parametrize("blending", ["exact", "windowed"])
@pytest.mark.parametrize("fusion", ["linear", "rrf"])
def test_a_hybrid_search_finds_new_documents_by_words(stack: Stack, alias: str, blending: str, fusion: str) -> None:
    query = {"hybrid": {"query": "animals of the sea", "blending": blending, "fusion": fusion}}
    answer = stack.gateway.search(index=alias, query=query, explain=True).body
    assert {hit["_id"] for hit in answer["hits"]["hits"]} == {"old", "new"}
    assert answer["_shards"]["failed"] == 0
    [reason] = answer["esblend"]["degraded"]
    assert f"[{alias}-000002] is not attached" in reason


def test_a_retriever_tree_and_a_semantic_clause_search_the_attached_index(stack: Stack, alias: str) -> None:
    builder = {"text_embedding": {"model_text": "animals of the sea"}}
    knn = {"knn": {"field": "body", "query_vector_builder": builder, "k": 5, "num_candidates": 20}}
    words = {"standard": {"query": {"match": {"body": "sea"}}}}
    answer = stack.gateway.search(index=alias, body={"retriever": {"rrf": {"retrievers": [words, knn]}}}).body
    assert {hit["_id"] for hit in answer["hits"]["hits"]} == {"old", "new"}
    assert "is not attached" in answer["esblend"]["degraded"][0]


def test_an_alias_without_any_attached_index_is_404(stack: Stack, alias: str) -> None:
    with pytest.raises(NotFoundError, match="is not attached"):
        stack.gateway.search(index=f"{alias}-000002", query={"hybrid": {"query": "sea"}})


def test_attaching_the_alias_attaches_the_new_index(stack: Stack, alias: str) -> None:
    layout = "flat" if alias.endswith("flat") else "passages"
    stack.attach(alias, "body", vector={"layout": layout})
    assert stack.wait(f"{alias}-000002")["embedded"] == 1
    answer = stack.gateway.search(index=alias, query={"hybrid": {"query": "animals of the sea"}}).body
    assert "esblend" not in answer
