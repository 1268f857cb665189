"""The whole search API under fusion: nested retrievers, sort, collapse, cursors, profile, degradation."""

import math
import threading
from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch

from query.gateway.filter_path import filtered
from tests.conftest import Stack
from tests.packaged_encoder import packaged_encoder
from tests.real.test_hybrid import DOCUMENTS, INDEX, dots, ids
from tests.real.test_hybrid import index as _index  # noqa: F401  the fixture of the six documents

pytestmark = pytest.mark.usefixtures("_index")
TEXT = "how to feed a young dog"
LEXICAL = {"standard": {"query": {"match": {"body": TEXT}}}}


def semantic(text: str) -> dict[str, Any]:
    by_text = {"text_embedding": {"model_text": text}}
    return {"knn": {"field": "esblend", "query_vector_builder": by_text, "k": 6, "num_candidates": 50}}


SEMANTIC = semantic(TEXT)
RRF = {"rrf": {"retrievers": [LEXICAL, SEMANTIC], "rank_window_size": 20}}


def search(client: Elasticsearch, **body: Any) -> dict[str, Any]:
    return dict(client.search(index=INDEX, body=body).body)


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}


def test_the_form_with_query_and_fields_is_the_tree_it_stands_for(stack: Stack) -> None:
    fields = ["title^2", "body"]
    lexical = {"standard": {"query": {"multi_match": {"query": TEXT, "fields": fields, "type": "most_fields"}}}}
    tree = {"rrf": {"retrievers": [lexical, SEMANTIC], "rank_window_size": 20}}
    short = {"rrf": {"query": TEXT, "fields": [*fields, "esblend"], "rank_window_size": 20}}
    expected = scores(search(stack.gateway, retriever=tree))
    assert len(expected) == 6
    assert scores(search(stack.gateway, retriever=short)) == expected


def test_a_rescorer_over_a_fusion(stack: Stack) -> None:
    query = {"match": {"body": "dog"}}
    first = scores(search(stack.gateway, retriever=RRF))
    own = scores(search(stack.es, query=query))
    rescore = {"window_size": 20, "query": {"rescore_query": query, "query_weight": 0.5, "rescore_query_weight": 2}}
    answer = search(stack.gateway, retriever={"rescorer": {"retriever": RRF, "rescore": rescore}}, explain=True)
    expected = {id_: 0.5 * score + 2 * own.get(id_, 0.0) for id_, score in first.items()}
    assert scores(answer) == pytest.approx(expected)
    for hit in answer["hits"]["hits"]:
        tree = hit["_explanation"]
        assert math.fsum(part["value"] for part in tree["details"]) == pytest.approx(hit["_score"], abs=1e-12)


def test_pinned_documents_come_first(stack: Stack) -> None:
    answer = search(stack.gateway, retriever={"pinned": {"ids": ["tax", "missing", "sea"], "retriever": RRF}})
    plain = ids(search(stack.gateway, retriever=RRF))
    assert ids(answer) == ["tax", "sea", *(id_ for id_ in plain if id_ not in ("tax", "sea"))]
    by_index = {"pinned": {"docs": [{"_index": INDEX, "_id": "jam"}], "retriever": RRF}}
    assert ids(search(stack.gateway, retriever=by_index))[0] == "jam"


def test_a_pin_obeys_the_filter(stack: Stack) -> None:
    pinned = {"pinned": {"ids": ["tax"], "retriever": RRF, "filter": {"term": {"kind": "b"}}}}
    assert sorted(ids(search(stack.gateway, retriever=pinned))) == ["cat", "dog"]


def test_diversity_takes_the_best_and_then_what_is_unlike_it(stack: Stack) -> None:
    diversify = {"type": "mmr", "field": "esblend", "retriever": SEMANTIC, "lambda": 1.0, "size": 4}
    builder = {"text_embedding": {"model_text": TEXT}}
    alike = {"diversify": {**diversify, "query_vector_builder": builder}}
    plain = search(stack.gateway, retriever={"rrf": {"retrievers": [SEMANTIC]}}, size=4)
    assert ids(search(stack.gateway, retriever=alike, size=4)) == ids(plain)
    unlike = search(stack.gateway, retriever={"diversify": {**diversify, "lambda": 0.0}}, size=4)
    assert ids(unlike) != ids(plain)


def test_a_post_filter_leaves_aggregations_alone(stack: Stack) -> None:
    aggs = {"kinds": {"terms": {"field": "kind"}}}
    answer = search(stack.gateway, query={"hybrid": {"query": TEXT}}, post_filter={"term": {"kind": "b"}}, aggs=aggs)
    assert sorted(ids(answer)) == ["cat", "dog"]
    assert answer["hits"]["total"]["value"] == 2
    assert sum(bucket["doc_count"] for bucket in answer["aggregations"]["kinds"]["buckets"]) == 6


def test_other_sort_keys_with_fused_scores(stack: Stack) -> None:
    plain = scores(search(stack.gateway, query={"hybrid": {"query": TEXT}}))
    answer = search(stack.gateway, query={"hybrid": {"query": TEXT}}, sort=[{"year": "desc"}], size=3)
    assert ids(answer) == ["jam", "sea", "tax"]
    assert [hit["sort"] for hit in answer["hits"]["hits"]] == [[2006], [2005], [2004]]
    assert scores(answer) == {id_: plain[id_] for id_ in ids(answer)}
    after = answer["hits"]["hits"][-1]["sort"]
    rest = search(stack.gateway, query={"hybrid": {"query": TEXT}}, sort=[{"year": "desc"}], search_after=after)
    assert ids(rest) == ["dog", "cat", "car"]


def test_a_field_first_and_the_score_second(stack: Stack) -> None:
    body = {"query": {"hybrid": {"query": TEXT}}, "sort": [{"kind": "asc"}, "_score"]}
    plain = search(stack.gateway, query={"hybrid": {"query": TEXT}})
    kinds = {id_: document["kind"] for id_, document in DOCUMENTS.items()}
    expected = sorted(ids(plain), key=lambda id_: (kinds[id_], -scores(plain)[id_]))
    whole = search(stack.gateway, **body)
    assert ids(whole) == expected
    assert [hit["sort"] for hit in whole["hits"]["hits"]] == [[kinds[id_], scores(plain)[id_]] for id_ in expected]
    after = whole["hits"]["hits"][1]["sort"]
    assert ids(search(stack.gateway, **body, search_after=after)) == expected[2:]


def test_collapsed_hits_with_their_group(stack: Stack) -> None:
    plain = search(stack.gateway, query={"hybrid": {"query": TEXT}})
    kinds = {id_: document["kind"] for id_, document in DOCUMENTS.items()}
    best: dict[str, str] = {}
    for id_ in ids(plain):
        best.setdefault(str(kinds[id_]), id_)
    collapse = {"field": "kind", "inner_hits": {"name": "group", "size": 5}}
    for kind in ({"query": {"hybrid": {"query": TEXT}}}, {"retriever": RRF}):
        answer = search(stack.gateway, **kind, collapse=collapse)
        assert len(answer["hits"]["hits"]) == 3
        inner = answer["hits"]["hits"][0]["inner_hits"]["group"]["hits"]["hits"]
        assert [hit["_score"] for hit in inner] == sorted((hit["_score"] for hit in inner), reverse=True)
    assert ids(search(stack.gateway, query={"hybrid": {"query": TEXT}}, collapse={"field": "kind"})) == list(
        best.values()
    )


def test_a_leg_sorted_by_a_field_counts_by_its_ranks(stack: Stack) -> None:
    newest = {"standard": {"query": {"match_all": {}}, "sort": [{"year": "desc"}]}}
    answer = search(stack.gateway, retriever={"rrf": {"retrievers": [newest], "rank_constant": 1}})
    assert scores(answer)["jam"] == pytest.approx(1 / 2)
    assert ids(answer)[:2] == ["jam", "sea"]


def test_the_profile_tells_each_step(stack: Stack) -> None:
    answer = search(stack.gateway, query={"hybrid": {"query": "a text not asked before"}}, profile=True)
    steps = [step["step"] for step in answer["esblend"]["profile"]["steps"]]
    assert {"count", "encode"} <= set(steps[:3]) <= {"count", "encode", "mean vector", "legs"}  # at the same time
    assert steps[-3:] == ["legs", "fusion", "page"]
    assert "compared one by one" in answer["esblend"]["profile"]["plan"]["semantic"]
    assert all(step["took_ms"] >= 0 for step in answer["esblend"]["profile"]["steps"])
    assert answer["profile"]["shards"]


def test_the_best_passage_where_no_word_is_there_to_highlight(stack: Stack) -> None:
    answer = search(
        stack.gateway, query={"hybrid": {"query": "automobile"}}, highlight={"fields": {"title": {}, "body": {}}}
    )
    highlights = {hit["_id"]: hit["highlight"] for hit in answer["hits"]["hits"]}
    assert highlights["car"] == {"title": ["Repairing an <em>automobile</em>"]}
    assert highlights["jam"] == {"title": [f"{DOCUMENTS['jam']['title']}\n{DOCUMENTS['jam']['body']}"]}


def test_opensearchs_hybrid_by_its_formula(stack: Stack) -> None:
    queries = [{"match": {"body": TEXT}}, {"neural": {"body": {"query_text": TEXT, "model_id": "any", "k": 6}}}]
    combination = {"technique": "arithmetic_mean", "parameters": {"weights": [0.25, 0.75]}}
    processor = {"normalization": {"technique": "min_max"}, "combination": combination}
    answer = search(
        stack.gateway,
        query={"hybrid": {"queries": queries}},
        search_pipeline={"phase_results_processors": [{"normalization-processor": processor}]},
    )
    lexical = scores(search(stack.es, query={"match": {"body": TEXT}}))
    semantic = scores(search(stack.gateway, query={"semantic": {"query": TEXT}}))

    def scaled(scores: dict[str, float]) -> dict[str, float]:  # OpenSearch gives the lowest hit 0.001 instead of 0
        low, high = min(scores.values()), max(scores.values())
        return {id_: (value - low) / (high - low) or 0.001 for id_, value in scores.items()}

    expected = {id_: 0.75 * value + 0.25 * scaled(lexical).get(id_, 0.0) for id_, value in scaled(semantic).items()}
    assert scores(answer) == pytest.approx(expected, abs=1e-6)


def test_a_neural_clause_inside_another(stack: Stack) -> None:
    neural = {"neural": {"body": {"query_text": "puppy", "k": 5}}}
    answer = search(stack.gateway, query={"bool": {"must": [neural], "filter": [{"term": {"kind": "b"}}]}})
    assert ids(answer) == ["dog", "cat"]


def test_indices_with_different_attachments_are_blended_as_one(stack: Stack, index_name: str) -> None:
    stack.es.indices.create(index=index_name, mappings={"properties": {"text": {"type": "text"}}})
    stack.es.index(index=index_name, id="new", document={"text": "A young dog needs food."}, refresh=True)
    stack.attach(index_name, "text", passages={"max_tokens": 100, "overlap_tokens": 10})
    stack.wait(index_name)
    try:
        answer = stack.gateway.search(index=f"{INDEX},{index_name}", body={"query": {"hybrid": {"query": TEXT}}})
        assert "new" in ids(dict(answer.body))[:2]
        assert answer["hits"]["total"]["value"] == 7
        assert {hit["_index"] for hit in answer["hits"]["hits"]} == {INDEX, index_name}
    finally:
        stack.es.indices.delete(index=index_name)


def test_what_cannot_be_combined_is_refused(stack: Stack) -> None:
    for body, words in (
        ({"retriever": RRF, "sort": ["year"]}, "cannot specify \\[retriever\\] and \\[sort\\]"),
        ({"query": {"hybrid": {"query": "x"}}, "search_after": [1]}, "Sort must contain"),
        ({"retriever": RRF, "slice": {"id": 0, "max": 2}}, "\\[slice\\] cannot be combined"),
    ):
        with pytest.raises(BadRequestError, match=words):
            search(stack.gateway, **body)


def test_a_walk_over_a_thousand_hits_while_others_write(stack: Stack, index_name: str) -> None:
    stack.es.indices.create(
        index=index_name,
        mappings={"properties": {"body": {"type": "text"}}},
        settings={"number_of_shards": 2, "number_of_replicas": 0},
    )
    stack.attach(index_name, "body")
    operations: list[dict[str, Any]] = []
    for number in range(1000):
        operations += [{"index": {"_id": str(number)}}, {"body": f"wing {number % 50}"}]
    stack.es.bulk(index=index_name, operations=operations, refresh=True)
    stack.wait(index_name, seconds=300)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            stack.es.index(index=index_name, id=f"new-{number}", document={"body": "wing"}, refresh=True)
            stack.es.delete(index=index_name, id=str(number % 1000), refresh=True)
            number += 1

    pit = stack.gateway.open_point_in_time(index=index_name, keep_alive="5m")["id"]
    writer = threading.Thread(target=write)
    writer.start()
    seen: list[str] = []
    try:
        body: dict[str, Any] = {
            "query": {"hybrid": {"query": "wing", "rank_window_size": 1000}},
            "sort": ["_score"],
            "size": 7,
        }
        while True:
            answer = stack.gateway.search(body={**body, "pit": {"id": pit, "keep_alive": "5m"}})
            pit = answer["pit_id"]
            if not answer["hits"]["hits"]:
                break
            seen += ids(dict(answer.body))
            body["search_after"] = answer["hits"]["hits"][-1]["sort"]
    finally:
        stop.set()
        writer.join()
        stack.gateway.close_point_in_time(id=pit)
        stack.es.indices.delete(index=index_name)
    assert len(seen) == 1000
    assert set(seen) == {str(number) for number in range(1000)}


@pytest.mark.parametrize("pattern", [
    "took", "hits.hits._id", "hits.hits._id,hits.total", "hits.*._id", "**._id", "hits.**", "**.t*le", "-hits.hits._source",
    "-**.title", "hits.hits,-hits.hits._score,-**.year", "*", "**", "h*s.hits._source.*y", "absent", "-took,-hits", "-*",
    "hits.hits._source.title,-hits.hits", "-hits.hits._source.*", "hits.total.value", "_shards.*ful", "hits.hits.0._id",
    "ho*,took", " took , hits.total ",
])  # fmt: skip
def test_a_response_is_filtered_as_elasticsearch_does(stack: Stack, pattern: str) -> None:
    asked = {"index": INDEX, "query": {"match": {"body": "how to feed"}}, "filter_path": pattern}
    whole = dict(stack.es.search(**{**asked, "filter_path": None}).body)
    expected = dict(stack.es.search(**asked).body)
    response = filtered(whole, pattern)
    for answer in (response, expected):
        if "took" in answer:
            answer["took"] = 0
    assert response == expected


def test_parts_of_a_fused_response_can_be_asked_for(stack: Stack) -> None:
    answer = stack.gateway.search(index=INDEX, query={"hybrid": {"query": TEXT}}, filter_path="hits.hits._id", size=2)
    assert dict(answer.body) == {"hits": {"hits": [{"_id": "dog"}, {"_id": "cat"}]}}
    searches = [{}, {"query": {"hybrid": {"query": TEXT}}, "size": 1}, {}, {"query": {"match_all": {}}, "size": 0}]
    many = stack.gateway.msearch(index=INDEX, searches=searches, filter_path="responses.hits.total.value")
    assert dict(many.body) == {"responses": [{"hits": {"total": {"value": 6}}}] * 2}


def test_an_explanation_shows_rank_score_and_dot_product(stack: Stack) -> None:
    expected = dots(packaged_encoder(), TEXT)
    for body, leg in (({"retriever": RRF}, "knn"), ({"query": {"hybrid": {"query": TEXT}}}, "semantic")):
        answer = search(stack.gateway, **body, explain=True)
        for hit, explained in zip(answer["hits"]["hits"], answer["esblend"]["explanations"], strict=True):
            [(position, part)] = [(n, part) for n, part in enumerate(explained["legs"]) if part["leg"] == leg]
            dot = part["dot_product"]
            assert dot == pytest.approx(expected[hit["_id"]], abs=0.02)
            assert part["rank"] >= 1
            assert part["score"] == pytest.approx((1 + dot) / 2 if leg == "knn" else dot)
            shown = hit["_explanation"]["details"][position]
            assert {"value": dot, "description": "dot product", "details": []} in shown["details"]


def test_an_async_search_is_answered_at_once_in_its_shape(stack: Stack) -> None:
    query = {"hybrid": {"query": TEXT}}
    answer = stack.gateway.async_search.submit(index=INDEX, query=query, size=2, wait_for_completion_timeout="1s")
    plain = stack.gateway.search(index=INDEX, query=query, size=2)
    assert answer["is_running"] is answer["is_partial"] is False
    assert "id" not in answer
    assert answer["response"]["hits"] == plain["hits"]
    with pytest.raises(BadRequestError, match="keep_on_completion"):
        stack.gateway.async_search.submit(index=INDEX, query=query, keep_on_completion=True)
