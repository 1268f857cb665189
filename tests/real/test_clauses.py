"""esblend's clauses work in every place of a query: kNN on the attached field, `semantic`, and `hybrid` among other clauses."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError

from tests.conftest import Stack
from tests.real.test_hybrid import DOCUMENTS, MAPPING, ids

INDEX = "test-clauses"
BUILDER = {"text_embedding": {"model_text": "pet animals"}}
KNN = {"knn": {"field": "esblend", "query_vector_builder": BUILDER, "k": 2, "num_candidates": 20}}
HYBRID: dict[str, Any] = {"hybrid": {"query": "pet animals"}}
PASSAGES = "esblend.g1.passages"
PETS = {"cat", "dog"}


@pytest.fixture(scope="module", autouse=True)
def _index(stack: Stack) -> Iterator[None]:
    """Six documents with vectors in one shard: a kNN clause finds `k` documents of each shard."""
    stack.es.indices.create(index=INDEX, mappings=MAPPING, settings={"number_of_shards": 1, "number_of_replicas": 0})
    for id_, document in DOCUMENTS.items():
        stack.es.index(index=INDEX, id=id_, document=document)
    stack.es.indices.refresh(index=INDEX)
    profiles = {"words": {"alpha": 0}, "meaning": {"weights": {"lexical": 0, "semantic": 1}}}
    stack.attach(INDEX, "title", "body", defaults={"fields": ["body"], "profiles": profiles})
    stack.wait(INDEX)
    yield
    stack.es.indices.delete(index=INDEX)


def search(stack: Stack, index: str = INDEX, **body: Any) -> dict[str, Any]:
    params = body.pop("params", {})
    return dict(stack.gateway.search(index=index, body=body, **params).body)


def scores(response: dict[str, Any]) -> dict[str, float]:
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


@pytest.mark.parametrize("field", ["esblend", "body", f"{PASSAGES}.vector"])
@pytest.mark.parametrize("by", ["text", "vector"])
def test_a_knn_clause_finds_documents_by_any_name_of_the_attached_field(stack: Stack, field: str, by: str) -> None:
    vector = stack.call("POST", "/_esblend/embed", {"texts": ["pet animals"], "index": INDEX})["vectors"][0]
    query = {"query_vector_builder": BUILDER} if by == "text" else {"query_vector": vector}
    knn = {"knn": {"field": field, "k": 2, "num_candidates": 20, **query}}
    response = search(stack, query={"bool": {"must": [knn]}})
    assert set(ids(response)) == PETS
    nested = {"nested": {"path": PASSAGES, "query": {"knn": {**knn["knn"], "field": f"{PASSAGES}.vector"}}}}
    assert scores(response) == scores(search(stack, query=nested))


def test_a_knn_clause_in_functions_rescoring_aggregations_and_filters(stack: Stack) -> None:
    everything: dict[str, Any] = {"match_all": {}}
    lifted = search(stack, query={"function_score": {"query": everything, "functions": [{"filter": KNN, "weight": 9}]}})
    assert {id_ for id_, score in scores(lifted).items() if score > 1} == PETS
    rescored = search(stack, query=everything, rescore={"query": {"rescore_query": KNN}})
    assert set(ids(rescored)[:2]) == PETS
    counted = search(stack, size=0, aggs={"near": {"filter": KNN}})
    assert counted["aggregations"]["near"]["doc_count"] == 2
    filtered = search(stack, query={"hybrid": {"query": "how to", "filter": KNN}})
    assert set(ids(filtered)) == PETS


def test_texts_of_knn_clauses_inside_legs_are_embedded(stack: Stack) -> None:
    leg = {"standard": {"query": {"bool": {"must": [KNN]}}}}
    assert set(ids(search(stack, retriever={"rrf": {"retrievers": [leg]}}))) == PETS
    queries = [{"bool": {"must": [KNN]}}, {"match": {"body": "kitten"}}]
    assert set(ids(search(stack, query={"hybrid": {"queries": queries}}))) == PETS


def test_a_semantic_clause_inside_nested_finds_passages_or_is_refused(stack: Stack) -> None:
    semantic = {"semantic": {"query": "pet animals", "k": 2}}
    plain = search(stack, query=semantic)
    assert set(ids(plain)) == PETS
    neural = {"neural": {"body": {"query_text": "pet animals", "k": 2}}}
    for clause in (semantic, neural):
        assert scores(search(stack, query={"nested": {"path": PASSAGES, "query": clause}})) == scores(plain)
    with pytest.raises(BadRequestError, match=r"move it out of \[nested\] with path \[comments\]"):
        search(stack, query={"nested": {"path": "comments", "query": semantic}})


def test_a_semantic_clause_has_its_own_k_filter_minimum_and_passages(stack: Stack) -> None:
    semantic = {"query": "pet animals"}
    plain = scores(search(stack, query={"semantic": semantic}))
    assert len(plain) == len(DOCUMENTS)
    filtered = search(stack, query={"semantic": {**semantic, "filter": {"term": {"kind": "a"}}, "k": 2}})
    assert len(ids(filtered)) == 2
    assert all(DOCUMENTS[id_]["kind"] == "a" for id_ in ids(filtered))
    minimum = sorted(plain.values())[-2]
    assert set(ids(search(stack, query={"semantic": {**semantic, "min_score": minimum}}))) == PETS
    hit = search(stack, query={"semantic": {**semantic, "inner_hits": {"size": 3, "name": "near"}}})["hits"]["hits"][0]
    [passage] = hit["inner_hits"]["near"]["hits"]["hits"]
    document = DOCUMENTS[hit["_id"]]
    assert passage["fields"]["text"] == [f"{document['title']}\n{document['body']}"]
    assert passage["_score"] == pytest.approx(hit["_score"], abs=0.01)


def test_a_neural_clause_has_its_own_k(stack: Stack) -> None:
    assert len(ids(search(stack, query={"neural": {"body": {"query_text": "pet animals", "k": 2}}}))) == 2


@pytest.mark.parametrize("type_", ["plain", "unified", "fvh"])
def test_the_highlighter_sees_words_and_no_vectors(stack: Stack, type_: str) -> None:
    if type_ == "fvh":
        with pytest.raises(BadRequestError, match="term vector"):
            search(stack, query={"semantic": {"query": "dog"}}, highlight={"type": type_, "fields": {"body": {}}})
        return
    query = {"bool": {"should": [{"semantic": {"query": "pet animals"}}, {"match": {"body": "dog"}}]}}
    response = search(stack, query=query, highlight={"type": type_, "fields": {"body": {}}})
    assert len(response["hits"]["hits"]) == len(DOCUMENTS)
    marked = {hit["_id"]: hit["highlight"]["body"] for hit in response["hits"]["hits"] if "highlight" in hit}
    assert marked == {"dog": ["Training a young <em>dog</em> takes patience."]}
    legs = [{"standard": {"query": query}}]
    fused = search(stack, retriever={"rrf": {"retrievers": legs}}, highlight={"type": type_, "fields": {"body": {}}})
    assert len(fused["hits"]["hits"]) == len(DOCUMENTS)
    alone = search(stack, retriever=legs[0], highlight={"type": type_, "fields": {"body": {}}})
    assert {hit["_id"]: hit["highlight"]["body"] for hit in alone["hits"]["hits"] if "highlight" in hit} == marked
    best = {"top_hits": {"size": 1, "highlight": {"type": type_, "fields": {"body": {}}}}}
    grouped = search(stack, query=query, size=0, aggs={"kinds": {"terms": {"field": "kind"}, "aggs": {"best": best}}})
    assert [len(bucket["best"]["hits"]["hits"]) for bucket in grouped["aggregations"]["kinds"]["buckets"]] == [1, 1, 1]
    group = {"name": "g", "highlight": {"type": type_, "fields": {"body": {}}}}
    groups = search(stack, query=query, collapse={"field": "kind", "inner_hits": group})["hits"]["hits"]
    assert sum(len(hit["inner_hits"]["g"]["hits"]["hits"]) for hit in groups) >= 3
    section: dict[str, Any] = {"knn": KNN["knn"], "highlight": {"type": type_, "fields": {"body": {}}}}
    assert set(ids(search(stack, **section))) == PETS


def test_a_semantic_highlighter_shows_passages(stack: Stack) -> None:
    highlight = {"fields": {"body": {"type": "semantic", "number_of_fragments": 2}}}
    for query in (HYBRID, {"semantic": {"query": "pet animals"}}, {"bool": {"must": [{"semantic": {"query": "pet"}}]}}):
        hits = search(stack, query=query, highlight=highlight)["hits"]["hits"]
        assert len(hits) == len(DOCUMENTS)
        for hit in hits:
            document = DOCUMENTS[hit["_id"]]
            assert hit["highlight"] == {"body": [f"{document['title']}\n{document['body']}"]}
            assert "inner_hits" not in hit


def test_a_hybrid_clause_scores_as_the_search_of_its_own(stack: Stack) -> None:
    plain = scores(search(stack, query=HYBRID))
    whole = scores(search(stack, query={"bool": {"must": [HYBRID]}}))
    assert whole == pytest.approx({id_: max(0.0, score) for id_, score in plain.items()}, abs=1e-6)


def test_conditions_beside_a_hybrid_clause_filter_its_legs(stack: Stack) -> None:
    conditions = {"filter": [{"term": {"kind": "a"}}], "must_not": [{"term": {"year": 2004}}]}
    response = search(stack, query={"bool": {"must": [HYBRID], **conditions}})
    assert set(ids(response)) == {"car", "jam"}
    inside = {"bool": {"filter": [{"term": {"kind": "a"}}, {"bool": {"must_not": conditions["must_not"]}}]}}
    expected = scores(search(stack, query={"hybrid": {**HYBRID["hybrid"], "filter": inside}}))
    assert scores(response) == pytest.approx({id_: max(0.0, score) for id_, score in expected.items()}, abs=1e-6)


def test_recency_popularity_and_scripts_over_a_hybrid_clause(stack: Stack) -> None:
    plain = {id_: max(0.0, score) for id_, score in scores(search(stack, query=HYBRID)).items()}
    popular = {"query": HYBRID, "field_value_factor": {"field": "year"}}
    function_scores = scores(search(stack, query={"function_score": popular}))
    assert function_scores == pytest.approx(
        {id_: s * int(DOCUMENTS[id_]["year"]) for id_, s in plain.items()}, rel=1e-4
    )  # type: ignore[call-overload]
    script = {"query": HYBRID, "script": {"source": "_score + 1"}}
    assert scores(search(stack, query={"script_score": script})) == pytest.approx(
        {id_: score + 1 for id_, score in plain.items()}, rel=1e-5
    )


@pytest.mark.parametrize("additional", [
    {"rescore": {"query": {"rescore_query": {"match_all": {}}}}}, {"indices_boost": [{INDEX: 2.0}]}, {"terminate_after": 100},
    {"stats": ["s"]}, {"knn": {**KNN["knn"], "boost": 0.1}},
], ids=lambda additional: next(iter(additional)))  # fmt: skip
def test_what_only_elasticsearch_executes_works_beside_hybrid(stack: Stack, additional: dict[str, Any]) -> None:
    assert set(ids(search(stack, query=HYBRID, **additional))[:2]) == PETS


def test_a_hybrid_is_scrolled(stack: Stack) -> None:
    expected = ids(search(stack, query={"bool": {"must": [HYBRID]}}))
    response = search(stack, query=HYBRID, size=2, params={"scroll": "1m"})
    seen = []
    while response["hits"]["hits"]:
        seen += ids(response)
        response = dict(stack.gateway.scroll(scroll_id=response["_scroll_id"], scroll="1m").body)
    stack.gateway.clear_scroll(scroll_id=response["_scroll_id"])
    assert seen == expected


@pytest.mark.parametrize("name", ["no-such-index", "no-such-*"])
@pytest.mark.parametrize("allow", [True, False])
def test_a_name_without_indices_is_answered_as_by_elasticsearch(stack: Stack, name: str, allow: bool) -> None:
    def answer(client: Any, body: dict[str, Any]) -> tuple[int, Any]:
        try:
            response = client.search(index=name, body=body, allow_no_indices=allow)
        except ApiError as error:
            return error.meta.status, error.error
        return 200, (response["hits"]["total"], response["hits"]["hits"], response["_shards"])

    expected = answer(stack.es, {"query": {"match_all": {}}})
    fused = {"rrf": {"retrievers": [{"standard": {"query": {"match": {"body": "x"}}}}, KNN]}}
    for body in (
        {"query": HYBRID}, {"query": {"bool": {"must": [HYBRID]}}}, {"query": {"semantic": {"query": "x"}}}, {"query": KNN},
        {"knn": KNN["knn"]}, {"retriever": fused}, {"retriever": {"rrf": {"query": "x"}}},
    ):  # fmt: skip
        assert answer(stack.gateway, body) == expected, body


@pytest.fixture
def field_called_semantic(stack: Stack, index_name: str) -> Iterator[str]:
    names = ("semantic", "neural", "hybrid", "linear", "pinned", "knn")
    stack.es.indices.create(index=index_name, mappings={"properties": {name: {"type": "text"} for name in names}})
    stack.es.index(index=index_name, document=dict.fromkeys(names, "word"), refresh=True)
    yield index_name
    stack.es.indices.delete(index=index_name)


@pytest.mark.parametrize("field", ["semantic", "neural", "hybrid", "linear", "pinned", "knn"])
def test_a_field_with_the_name_of_a_clause_is_searched_as_any_field(
    stack: Stack, field_called_semantic: str, field: str
) -> None:
    for query in (
        {"match": {field: {"query": "word"}}},
        {"match": {field: "word"}},
        {"term": {field: {"value": "word"}}},
    ):
        assert len(ids(search(stack, field_called_semantic, query=query))) == 1
        aggs = {field: {"filter": query}}
        counted = search(stack, field_called_semantic, size=0, aggs=aggs)
        assert counted["aggregations"][field]["doc_count"] == 1


def test_a_profile_of_the_attachment_is_named_by_the_search(stack: Stack) -> None:
    text = {"query": "how to feed a young dog"}
    for profile, options in (("words", {"alpha": 0}), ("meaning", {"alpha": 1})):
        named = scores(search(stack, query={"hybrid": {**text, "profile": profile}}))
        assert named == scores(search(stack, query={"hybrid": {**text, **options}}))
    with pytest.raises(BadRequestError, match=r"profiles\]: \[meaning\], \[words\]"):
        search(stack, query={"hybrid": {**text, "profile": "other"}})


@pytest.mark.parametrize("query", [HYBRID, {"bool": {"must": [HYBRID]}}, {"semantic": {"query": "pet", "k": 2}}, KNN])
def test_other_apis_with_a_query_take_the_clauses(stack: Stack, query: dict[str, Any]) -> None:
    expected = search(stack, query=query)
    assert stack.gateway.count(index=INDEX, query=query)["count"] == expected["hits"]["total"]["value"]
    assert stack.gateway.indices.validate_query(index=INDEX, query=query)["valid"]
    best = expected["hits"]["hits"][0]
    explained = stack.gateway.explain(index=INDEX, id=best["_id"], query=query)
    assert explained["explanation"]["value"] == pytest.approx(best["_score"], abs=1e-6)


def test_apis_that_cannot_rank_refuse_with_the_request_to_use(stack: Stack) -> None:
    send = stack.gateway.options(headers={"content-type": "application/json", "accept": "application/json"})
    source = json.dumps({"query": HYBRID})
    for path, body, words in (
        (f"/{INDEX}/_delete_by_query", {"query": HYBRID}, r"send the ids of the hits as an \[ids\] query"),
        (f"/{INDEX}/_update_by_query", {"query": {"bool": {"must": [HYBRID]}}}, r"\[ids\] query"),
        ("/_reindex", {"source": {"index": INDEX, "query": HYBRID}, "dest": {"index": "x"}}, r"\[ids\] query"),
        (f"/{INDEX}/_search/template", {"source": source}, r"_render/template"),
        (f"/{INDEX}/_search/template", {"source": {"query": HYBRID}}, r"_render/template"),
        (f"/{INDEX}/_rank_eval", {"requests": [{"request": {"query": HYBRID}}]}, "esblend eval"),
    ):
        with pytest.raises(BadRequestError, match=words):
            send.perform_request("POST", path, body=body)
    for template in (source, {"query": HYBRID}):
        with pytest.raises(BadRequestError, match=r"_render/template"):
            stack.gateway.msearch_template(search_templates=[{"index": INDEX}, {"source": template}])
    assert stack.es.count(index=INDEX)["count"] == len(DOCUMENTS)
    deleted = stack.gateway.delete_by_query(index=INDEX, query={"term": {"kind": "none"}})
    assert deleted["deleted"] == 0


def test_names_of_remote_clusters_are_refused_by_name(stack: Stack) -> None:
    for query in (HYBRID, {"bool": {"must": [HYBRID]}}, {"semantic": {"query": "x"}}):
        with pytest.raises(BadRequestError, match=r"\[other:articles\] is an index of a remote cluster"):
            search(stack, "other:articles", query=query)


def test_date_math_names_are_searched(stack: Stack) -> None:
    name = f"<{INDEX[:-1]}{{now/d{{'{INDEX[-1]}'}}}}>"
    assert ids(search(stack, name, query=HYBRID)) == ids(search(stack, query=HYBRID))


def test_a_closed_index_is_left_out_or_reported_as_by_elasticsearch(stack: Stack, index_name: str) -> None:
    stack.es.indices.create(index=index_name, wait_for_active_shards=1)
    stack.es.indices.close(index=index_name)
    fused = {"rrf": {"retrievers": [{"standard": {"query": {"match": {"body": "dog"}}}}, KNN]}}
    try:
        for body in ({"query": HYBRID}, {"query": {"semantic": {"query": "dog"}}}, {"retriever": fused}):
            alone = search(stack, **body)
            both = search(stack, f"{INDEX},{index_name}", **body, params={"ignore_unavailable": True})
            assert scores(both) == scores(alone)
            assert "esblend" not in both
            with pytest.raises(ApiError) as caught:
                search(stack, f"{INDEX},{index_name}", **body)
            assert (caught.value.meta.status, caught.value.error) == (400, "index_closed_exception")
    finally:
        stack.es.indices.delete(index=index_name)


@pytest.mark.parametrize("option", ["inner_hits", "rerank"])
def test_options_of_the_page_are_refused_inside_another_clause(stack: Stack, option: str) -> None:
    inside = {"bool": {"must": [{"hybrid": {"query": "x", option: {}}}]}}
    with pytest.raises(BadRequestError, match=rf"\[hybrid\.{option}\] needs \[hybrid\] to be the search's only query"):
        search(stack, query=inside)
    with pytest.raises(BadRequestError, match=rf"\[hybrid\.{option}\]"):
        search(stack, query={"hybrid": {"query": "x", option: {}}}, rescore={"query": {"rescore_query": KNN}})


def test_a_clause_whose_leg_may_not_fail_is_answered(stack: Stack) -> None:
    assert ids(search(stack, query={"bool": {"must": [HYBRID]}}, on_leg_failure="fail"))
