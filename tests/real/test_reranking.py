"""Reranking by a cross-encoder, and searches whose encoder or cross-encoder has no time."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError, Elasticsearch

from esblend.encoder.cross_encoder import CrossEncoder
from esblend.encoder.folder import find_model
from tests.conftest import Stack
from tests.real.gateways import gateway_with
from tests.real.test_hybrid import DOCUMENTS, INDEX, ids
from tests.real.test_hybrid import index as _index  # noqa: F401  the fixture of the six documents
from tests.real.test_search_surface import LEXICAL, RRF, TEXT, semantic

pytestmark = pytest.mark.usefixtures("_index")


def unknown(text: str) -> str:
    """The text and words that no document has. The gateway knows the vectors of texts that it embedded, also too late, and a timer
    of a millisecond may come after a short text's vector."""
    return " ".join([text, *(uuid.uuid4().hex for _ in range(20))])


def search(client: Elasticsearch, **body: Any) -> dict[str, Any]:
    return dict(client.search(index=INDEX, body=body).body)


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with random weights that reads pairs, with the packaged model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("cross-encoder")
    tokenizer = AutoTokenizer.from_pretrained(find_model("minilm").path)
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, num_labels=1,
        initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reranking(stack: Stack, cross_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elasticsearch]:
    with gateway_with(stack, tmp_path_factory.mktemp("reranking"), reranker=str(cross_encoder)) as client:
        yield client


@pytest.fixture(scope="module")
def hasty(stack: Stack, cross_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elasticsearch]:
    """A gateway that gives encoder and cross-encoder no time."""
    settings = {"query_encoder_budget_seconds": "0.00001", "reranker_budget_seconds": "0.00001"}
    with gateway_with(stack, tmp_path_factory.mktemp("hasty"), reranker=str(cross_encoder), **settings) as client:
        yield client


def test_a_cross_encoder_decides_the_order(reranking: Elasticsearch, cross_encoder: Path) -> None:
    by_encoder = CrossEncoder(str(cross_encoder), threads=1).scores(
        TEXT, [document["body"] for document in DOCUMENTS.values()]
    )
    expected = dict(zip(DOCUMENTS, by_encoder.tolist(), strict=True))
    assert len({round(score, 3) for score in expected.values()}) == 6
    leg = {"retriever": RRF, "field": "body", "inference_text": TEXT, "rank_window_size": 10}
    answer = search(reranking, retriever={"text_similarity_reranker": leg})
    assert scores(answer) == pytest.approx(expected, abs=1e-5)
    assert ids(answer) == sorted(expected, key=lambda id_: -expected[id_])


def test_a_hybrid_query_is_reranked(reranking: Elasticsearch, cross_encoder: Path) -> None:
    answer = search(reranking, query={"hybrid": {"query": TEXT, "rerank": {"rank_window_size": 3}}}, size=3)
    texts = [f"{DOCUMENTS[id_]['title']}\n{DOCUMENTS[id_]['body']}" for id_ in ids(answer)]
    expected = CrossEncoder(str(cross_encoder), threads=1).scores(TEXT, texts)
    assert list(scores(answer).values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert "esblend" not in answer


def test_pages_of_a_reranked_query_neither_repeat_nor_omit_a_hit(reranking: Elasticsearch) -> None:
    query = {"hybrid": {"query": TEXT, "rerank": {"rank_window_size": 3}}}
    whole = ids(search(reranking, query=query, size=6))
    assert sorted(whole) == sorted(DOCUMENTS)
    pages = [ids(search(reranking, query=query, size=2, **{"from": start})) for start in (0, 2, 4)]
    assert [id_ for page in pages for id_ in page] == whole


def test_a_cross_encoder_that_is_not_there_is_refused(stack: Stack, reranking: Elasticsearch) -> None:
    leg = {"retriever": RRF, "field": "body", "inference_text": TEXT, "inference_id": "other"}
    with pytest.raises(BadRequestError, match="no cross-encoder is called \\[other\\]"):
        search(reranking, retriever={"text_similarity_reranker": leg})
    with pytest.raises(BadRequestError, match="ESBLEND_RERANKER"):
        search(stack.gateway, query={"hybrid": {"query": TEXT, "rerank": True}})


def test_without_time_the_lexical_order_stands_and_says_so(stack: Stack, hasty: Elasticsearch) -> None:
    answer = hasty.search(index=INDEX, body={"query": {"hybrid": {"query": unknown(TEXT), "rerank": True}}})
    lexical = search(stack.gateway, query={"hybrid": {"query": TEXT, "alpha": 0}})
    assert ids(dict(answer.body)) == ids(lexical)
    semantic, rerank = answer["esblend"]["degraded"]
    assert semantic == "semantic: the encoder took longer than 1e-05 s"
    assert rerank.startswith("rerank: no result within 1e-05 s")
    assert answer.meta.headers["warning"] == f'299 esblend "{semantic}"'


def test_a_leg_that_fails_is_an_error_where_the_caller_says_so(hasty: Elasticsearch) -> None:
    retriever = {"rrf": {"retrievers": [LEXICAL, semantic(unknown(TEXT))]}}
    for body in ({"query": {"hybrid": {"query": unknown(TEXT)}}}, {"retriever": retriever}):
        with pytest.raises(ApiError) as caught:
            search(hasty, **body, on_leg_failure="fail")
        assert caught.value.meta.status == 503
        assert caught.value.error == "leg_failure_exception"


def test_a_retriever_goes_on_without_its_vector_leg(hasty: Elasticsearch) -> None:
    retriever = {"rrf": {"retrievers": [LEXICAL, semantic(unknown(TEXT))], "rank_window_size": 20}}
    answer = search(hasty, retriever=retriever)
    assert set(ids(answer)) == {"cat", "dog", "tax"}
    assert answer["esblend"]["degraded"] == ["knn: the encoder took longer than 1e-05 s"]


def test_a_semantic_clause_becomes_a_lexical_one(hasty: Elasticsearch) -> None:
    def clause() -> dict[str, Any]:
        return {"bool": {"must": [{"semantic": {"query": unknown("kitten")}}]}}

    answer = hasty.search(index=INDEX, body={"query": clause()})
    assert ids(dict(answer.body)) == ["cat"]
    assert answer["esblend"]["degraded"] == ["semantic: the encoder took longer than 1e-05 s"]
    assert "warning" in answer.meta.headers
    several = hasty.msearch(index=INDEX, searches=[{}, {"query": clause()}, {}, {"query": {"match_all": {}}}])
    assert [("esblend" in response) for response in several["responses"]] == [True, False]
