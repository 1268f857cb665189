"""`_msearch` and kNN by text through the gateway."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Stack


@pytest.fixture
def index(stack: Stack, make_index: Callable[..., str]) -> str:
    texts = ["lift of a swept wing", "heat transfer on a plate", "the price of bread", "wings of birds in flight"]
    name = make_index(*({"body": text} for text in texts))
    stack.attach(name, "body")
    stack.wait(name)
    return name


def hybrid(text: str) -> dict[str, Any]:
    return {"query": {"hybrid": {"query": text}}}


def test_fused_and_plain_searches_are_answered_in_order(stack: Stack, index: str) -> None:
    plain = {"query": {"match": {"body": "heat"}}}
    semantic = {"query": {"semantic": {"query": "aircraft"}}, "size": 1}
    searches = [{"index": index}, plain, {"index": index}, hybrid("wing"), {}, semantic, {"index": index}, plain]
    answer = stack.gateway.msearch(index=index, searches=searches)
    alone = [stack.gateway.search(index=index, body=body)["hits"]["hits"] for body in searches[1::2]]
    assert [response["hits"]["hits"] for response in answer["responses"]] == alone
    assert [response["status"] for response in answer["responses"]] == [200] * 4
    assert alone[0][0]["_id"] == "1"


def test_a_search_that_fails_leaves_the_others_alone(stack: Stack, index: str) -> None:
    wrong = {"query": {"hybrid": {"query": "x", "alpha": 7}}}
    searches = [
        {"index": index},
        wrong,
        {"index": index},
        hybrid("wing"),
        {"index": "no-such-index"},
        {"query": {"match_all": {}}},
    ]
    first, second, third = stack.gateway.msearch(searches=searches)["responses"]
    assert (first["status"], first["error"]["type"]) == (400, "illegal_argument_exception")
    assert second["hits"]["hits"][0]["_id"] in ("0", "3")
    assert third["status"] == 404


def test_parameters_of_the_url_hold_for_each_search_or_are_refused(stack: Stack, index: str) -> None:
    searches = [
        {"index": [index, "no-such-index"]},
        hybrid("wing"),
        {"index": [index, "no-such-index"]},
        {"query": {"match_all": {}}},
    ]
    responses = stack.gateway.msearch(searches=searches, ignore_unavailable=True)["responses"]
    assert [(response["status"], response["hits"]["total"]["value"]) for response in responses] == [(200, 4)] * 2
    headers = {"accept": "application/json", "content-type": "application/x-ndjson"}
    lines = [{"index": index}, hybrid("wing")]
    answer = stack.gateway.perform_request("POST", "/_msearch?size=1", headers=headers, body=lines)
    assert "[size]" in answer.body["responses"][0]["error"]["reason"]


def test_an_msearch_without_fusion_passes_through(stack: Stack, index: str) -> None:
    searches = [{"index": index}, {"query": {"match": {"body": "heat"}}}]
    through, direct = (client.msearch(searches=searches)["responses"] for client in (stack.gateway, stack.es))
    assert [response["hits"] for response in through] == [response["hits"] for response in direct]


@pytest.mark.parametrize("position", ["section", "query", "retriever"])
def test_knn_by_text_anywhere(stack: Stack, index: str, position: str) -> None:
    field = "esblend.g1.passages.vector"
    knn = {"field": field, "k": 2, "query_vector_builder": {"text_embedding": {"model_text": "aircraft wings"}}}
    if position == "section":
        body: dict[str, Any] = {"knn": knn}
    elif position == "query":
        body = {"query": {"nested": {"path": "esblend.g1.passages", "query": {"knn": knn}}}}
    else:
        body = {"retriever": {"knn": {**knn, "num_candidates": 10}}}
    hits = stack.gateway.search(index=index, body=body)["hits"]["hits"]
    assert {hit["_id"] for hit in hits[:2]} == {"0", "3"}


def test_other_normalisers_and_combinations_rank(stack: Stack, index: str) -> None:
    for normalizer in ("theoretical", "dbsf", "z_score"):
        for combination in ("arithmetic_mean", "geometric_mean", "harmonic_mean"):
            options = {"query": "wing", "normalizer": normalizer, "combination": combination}
            hits = stack.gateway.search(index=index, query={"hybrid": options})["hits"]["hits"]
            assert hits[0]["_id"] in ("0", "3"), options


def test_theoretical_scores_do_not_depend_on_the_window(stack: Stack, index: str) -> None:
    options = {"query": "wing", "normalizer": "theoretical", "combination": "arithmetic_mean"}
    hits = stack.gateway.search(index=index, query={"hybrid": options}, size=1)["hits"]["hits"]
    all_ = stack.gateway.search(index=index, query={"hybrid": options}, size=4)["hits"]["hits"]
    assert hits == all_[:1]
    assert all(0 <= hit["_score"] <= 1 for hit in all_)


def test_autocut_shows_what_stands_out(stack: Stack, index: str) -> None:
    cut = stack.gateway.search(index=index, query={"hybrid": {"query": "swept wing", "autocut": 1}})["hits"]
    assert [hit["_id"] for hit in cut["hits"]] == ["0"]
    assert cut["total"]["value"] == 1
    hybrid_and_count = {**hybrid("swept wing"), "aggs": {"all": {"filter": {"match_all": {}}}}}
    hybrid_and_count["query"]["hybrid"]["autocut"] = 1
    counted = stack.gateway.search(index=index, body=hybrid_and_count)["aggregations"]
    assert counted["all"]["doc_count"] == 1
