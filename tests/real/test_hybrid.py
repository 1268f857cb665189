"""Hybrid search through the gateway, on a real Elasticsearch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from elasticsearch import BadRequestError, NotFoundError

from esblend.encoder.encoder import Encoder
from tests.conftest import Stack
from tests.packaged_encoder import packaged_encoder

INDEX = "test-hybrid"
DOCUMENTS = {
    "car": {
        "title": "Repairing an automobile",
        "body": "Change the oil and the brake pads of your car.",
        "kind": "a",
        "year": 2001,
    },
    "cat": {"title": "Feline care", "body": "How to feed and groom a kitten.", "kind": "b", "year": 2002},
    "dog": {"title": "Puppies", "body": "Training a young dog takes patience.", "kind": "b", "year": 2003},
    "tax": {"title": "Income tax", "body": "How to file a return and what to deduct.", "kind": "a", "year": 2004},
    "sea": {"title": "Oceans", "body": "Currents carry warm water to the north.", "kind": "c", "year": 2005},
    "jam": {"title": "Traffic jam", "body": "Vehicles queue on the motorway; drivers wait.", "kind": "a", "year": 2006},
}
MAPPING = {
    "properties": {
        "title": {"type": "text", "analyzer": "english"},
        "body": {"type": "text", "analyzer": "english"},
        "kind": {"type": "keyword"},
        "year": {"type": "integer"},
    }
}


@pytest.fixture(scope="module")
def index(stack: Stack) -> Iterator[str]:
    """Six documents with vectors, and one without any text."""
    stack.es.indices.create(index=INDEX, mappings=MAPPING, settings={"number_of_shards": 2, "number_of_replicas": 0})
    operations: list[dict[str, Any]] = []
    for id_, document in DOCUMENTS.items():
        operations += [{"index": {"_id": id_}}, document]
    stack.es.bulk(index=INDEX, operations=operations, refresh=True)
    stack.attach(INDEX, "title", "body")
    stack.wait(INDEX)
    yield INDEX
    stack.es.indices.delete(index=INDEX)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return packaged_encoder()


def hybrid(stack: Stack, text: str, *, top: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    body = {"query": {"hybrid": {"query": text, **options}}, **(top or {})}
    return dict(stack.gateway.search(index=INDEX, body=body).body)


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def dots(encoder: Encoder, text: str) -> dict[str, float]:
    vectors = encoder.encode_documents([f"{document['title']}\n{document['body']}" for document in DOCUMENTS.values()])
    return dict(zip(DOCUMENTS, (vectors @ encoder.encode_query(text)).tolist(), strict=True))


def bm25(stack: Stack, text: str) -> dict[str, float]:
    query = {"combined_fields": {"query": text, "fields": ["title", "body"]}}
    return {hit["_id"]: hit["_score"] for hit in stack.es.search(index=INDEX, query=query)["hits"]["hits"]}


def test_a_meaning_without_a_common_word_is_found(stack: Stack, index: str) -> None:
    answer = hybrid(stack, "pet animals")
    assert set(ids(answer)[:2]) == {"cat", "dog"}
    assert bm25(stack, "pet animals") == {}


def test_default_scores_are_those_of_the_formula(stack: Stack, index: str, encoder: Encoder) -> None:
    text = "how to repair the brake of a car"
    lexical, semantic = bm25(stack, text), dots(encoder, text)
    highest = max(lexical.values())
    mean = sum(semantic.values()) / len(semantic)
    expected = {
        id_: 0.35 * lexical.get(id_, 0) / highest + 0.65 * (semantic[id_] - mean) / (1 - mean) for id_ in DOCUMENTS
    }
    answer = hybrid(stack, text)
    assert ids(answer) == sorted(expected, key=lambda id_: -expected[id_])
    for hit in answer["hits"]["hits"]:
        assert hit["_score"] == pytest.approx(expected[hit["_id"]], abs=2e-5)


def test_a_score_does_not_depend_on_size_or_page(stack: Stack, index: str) -> None:
    whole = {hit["_id"]: hit["_score"] for hit in hybrid(stack, "young cat")["hits"]["hits"]}
    first = hybrid(stack, "young cat", top={"size": 1})["hits"]["hits"]
    third = hybrid(stack, "young cat", top={"size": 2, "from": 2})["hits"]["hits"]
    assert [hit["_id"] for hit in third] == list(whole)[2:4]
    for hit in first + third:
        assert hit["_score"] == whole[hit["_id"]]


def test_filters_apply_to_both_legs(stack: Stack, index: str) -> None:
    assert set(ids(hybrid(stack, "pet animals", filter={"term": {"kind": "a"}}))) == {"car", "tax", "jam"}
    assert ids(hybrid(stack, "water", filter=[{"term": {"kind": "c"}}, {"range": {"year": {"gte": 2005}}}])) == ["sea"]
    assert ids(hybrid(stack, "water", filter={"term": {"kind": "none such"}})) == []


def test_totals_and_aggregations_are_those_of_all_matches(stack: Stack, index: str) -> None:
    aggregations = {"kinds": {"terms": {"field": "kind"}}}
    answer = hybrid(stack, "pet animals", top={"size": 1, "aggs": aggregations, "track_total_hits": True})
    assert answer["hits"]["total"] == {"value": 6, "relation": "eq"}
    counts = {bucket["key"]: bucket["doc_count"] for bucket in answer["aggregations"]["kinds"]["buckets"]}
    assert counts == {"a": 3, "b": 2, "c": 1}


def test_a_page_shows_what_was_asked_for(stack: Stack, index: str) -> None:
    top = {"size": 1, "_source": ["year"], "fields": ["kind"], "highlight": {"fields": {"body": {}}}}
    [hit] = hybrid(stack, "groom a kitten", top=top)["hits"]["hits"]
    assert hit["_source"] == {"year": 2002}
    assert hit["fields"] == {"kind": ["b"]}
    assert "<em>groom</em>" in hit["highlight"]["body"][0]


def test_explanations_add_up(stack: Stack, index: str) -> None:
    answer = hybrid(stack, "feeding a cat", top={"explain": True})
    for hit, explained in zip(answer["hits"]["hits"], answer["esblend"]["explanations"], strict=True):
        tree = hit["_explanation"]
        assert tree["value"] == hit["_score"] == pytest.approx(sum(leg["value"] for leg in tree["details"]), abs=1e-12)
        assert tree["description"].startswith("weighted linear combination score: [")
        assert (explained["_id"], explained["score"]) == (hit["_id"], hit["_score"])
        assert [leg["contribution"] for leg in explained["legs"]] == [leg["value"] for leg in tree["details"]]
        for leg in explained["legs"]:
            assert leg["contribution"] == pytest.approx(leg["weight"] * leg["normalized"], abs=1e-12)


def test_the_best_passage_comes_with_its_text(stack: Stack, index: str, encoder: Encoder) -> None:
    [hit] = hybrid(stack, "kitten", inner_hits={}, top={"size": 1, "_source": False})["hits"]["hits"]
    [passage] = hit["inner_hits"]["passages"]["hits"]["hits"]
    assert passage["fields"]["text"] == ["Feline care\nHow to feed and groom a kitten."]
    assert passage["_score"] == pytest.approx(dots(encoder, "kitten")["cat"], abs=2e-5)


def test_the_raw_dot_product_is_still_to_be_had(stack: Stack, index: str, encoder: Encoder) -> None:
    text = "how to repair the brake of a car"
    lexical, semantic = bm25(stack, text), dots(encoder, text)
    highest = max(lexical.values())
    for hit in hybrid(stack, text, normalizer="raw_dot", alpha=0.7)["hits"]["hits"]:
        expected = 0.3 * lexical.get(hit["_id"], 0) / highest + 0.7 * semantic[hit["_id"]]
        assert hit["_score"] == pytest.approx(expected, abs=2e-5)


def test_explanation_and_profile_show_the_calibration(stack: Stack, index: str, encoder: Encoder) -> None:
    text = "feeding a cat"
    semantic = dots(encoder, text)
    mean = sum(semantic.values()) / len(semantic)
    answer = hybrid(stack, text, top={"explain": True, "profile": True})
    for explained in answer["esblend"]["explanations"]:
        leg = explained["legs"][1]
        assert leg["dot_product"] == pytest.approx(semantic[explained["_id"]], abs=2e-5)
        assert leg["mean"] == pytest.approx(mean, abs=2e-5)
        assert leg["normalized"] == pytest.approx((leg["dot_product"] - mean) / (1 - mean), abs=1e-4)
    plan = answer["esblend"]["profile"]["plan"]["calibration"]
    assert plan == "mean vector of 6 passages of 6 documents, drawn from 6; sampled by the gateway"


def test_a_leg_of_weight_zero_is_not_a_failed_leg(stack: Stack, index: str) -> None:
    answer = hybrid(stack, "groom a kitten", weights={"lexical": 2, "semantic": 0}, top={"explain": True})
    assert answer["hits"]["max_score"] == 2.0
    assert "degraded" not in answer["esblend"]


@pytest.mark.parametrize(
    "fields", [["titel"], ["title^2", "nothing"], ["no*"], ["esblend"], ["esblend.g1.passages.vector"]]
)
def test_an_unknown_field_is_refused(stack: Stack, index: str, fields: list[str]) -> None:
    with pytest.raises(BadRequestError, match="no index of the search has"):
        hybrid(stack, "kitten", fields=fields)


@pytest.mark.parametrize("fields", [["body", "kind"], ["bod*"], ["body^2", "tit*"]])
def test_fields_of_any_type_and_wildcards_are_known(stack: Stack, index: str, fields: list[str]) -> None:
    assert ids(hybrid(stack, "kitten", fields=fields, alpha=0)) == ["cat"]


def test_alpha_is_the_share_of_the_semantic_leg(stack: Stack, index: str, encoder: Encoder) -> None:
    text = "how to file a tax return"
    semantic = dots(encoder, text)
    only_semantic = hybrid(stack, text, alpha=1)
    assert ids(only_semantic) == sorted(semantic, key=lambda id_: -semantic[id_])
    only_lexical = hybrid(stack, text, alpha=0)
    assert ids(only_lexical) == list(bm25(stack, text))
    assert only_lexical["hits"]["max_score"] == 1.0


def test_min_score_is_on_the_fused_score(stack: Stack, index: str) -> None:
    whole = hybrid(stack, "young cat")["hits"]["hits"]
    limit = whole[2]["_score"]
    answer = hybrid(stack, "young cat", min_score=limit)
    assert ids(answer) == [hit["_id"] for hit in whole[:3]]
    assert answer["hits"]["total"] == {"value": 3, "relation": "eq"}


@pytest.mark.parametrize("blending", ["exact", "windowed"])
@pytest.mark.parametrize("fusion", ["linear", "rrf"])
def test_every_way_to_blend_answers(stack: Stack, index: str, blending: str, fusion: str) -> None:
    answer = hybrid(stack, "groom a kitten", blending=blending, fusion=fusion)
    assert ids(answer)[0] == "cat"


def knn_by_text(text: str, k: int = 10) -> dict[str, Any]:
    builder = {"text_embedding": {"model_text": text}}
    return {
        "knn": {"field": "esblend.g1.passages.vector", "query_vector_builder": builder, "k": k, "num_candidates": 50}
    }


def test_rrf_retriever_by_its_formula(stack: Stack, index: str, encoder: Encoder) -> None:
    text = "how to groom a young dog"
    standard = {"standard": {"query": {"match": {"body": text}}}}
    lexical = [hit["_id"] for hit in stack.es.search(index=INDEX, query={"match": {"body": text}})["hits"]["hits"]]
    semantic = sorted(dots(encoder, text), key=lambda id_: -dots(encoder, text)[id_])
    expected = {
        id_: sum(1 / (60 + ranks.index(id_) + 1) for ranks in (lexical, semantic) if id_ in ranks) for id_ in DOCUMENTS
    }
    retriever = {"rrf": {"retrievers": [standard, knn_by_text(text)], "rank_window_size": 10}}
    answer = stack.gateway.search(index=INDEX, retriever=retriever)
    for hit in answer["hits"]["hits"]:
        assert hit["_score"] == pytest.approx(expected[hit["_id"]])
    assert len(answer["hits"]["hits"]) == 6


def test_linear_retriever_with_vectors_and_a_nested_rrf(stack: Stack, index: str, encoder: Encoder) -> None:
    vector = encoder.encode_query("pets").tolist()
    knn = {"knn": {"field": "esblend.g1.passages.vector", "query_vector": vector, "k": 3, "num_candidates": 10}}
    standard = {"standard": {"query": {"match": {"body": "water"}}}}
    legs = [
        {"retriever": standard, "weight": 2, "normalizer": "minmax"},
        {
            "retriever": {"rrf": {"retrievers": [knn, standard], "rank_window_size": 10}},
            "weight": 1,
            "normalizer": "minmax",
        },
    ]
    answer = stack.gateway.search(index=INDEX, retriever={"linear": {"retrievers": legs, "rank_window_size": 10}})
    assert answer["hits"]["hits"][0]["_id"] == "sea"
    assert answer["hits"]["hits"][0]["_score"] == pytest.approx(2 + 1, abs=0.01)
    assert answer["hits"]["total"]["value"] == 4


def test_semantic_clauses_stand_where_any_clause_may(stack: Stack, index: str, encoder: Encoder) -> None:
    clause = {"semantic": {"query": "pet animals"}}
    alone = stack.gateway.search(index=INDEX, query=clause, size=1)["hits"]["hits"][0]
    assert alone["_score"] == pytest.approx((1 + max(dots(encoder, "pet animals").values())) / 2, abs=5e-3)
    inside = {"bool": {"must": [clause], "filter": [{"term": {"kind": "a"}}]}}
    assert {hit["_id"] for hit in stack.gateway.search(index=INDEX, query=inside)["hits"]["hits"]} <= {
        "car",
        "tax",
        "jam",
    }


def test_semantic_clauses_in_a_leg_of_a_retriever(stack: Stack, index: str) -> None:
    legs = [
        {"standard": {"query": {"semantic": {"query": "pet animals"}}}},
        {"standard": {"query": {"match": {"body": "water"}}}},
    ]
    answer = stack.gateway.search(index=INDEX, retriever={"rrf": {"retrievers": legs}})
    assert {"cat", "dog", "sea"} <= set(ids(dict(answer.body)))


def test_a_semantic_clause_on_an_index_without_attachment_is_elasticsearchs_own(stack: Stack, index_name: str) -> None:
    stack.es.indices.create(index=index_name, mappings={"properties": {"body": {"type": "text"}}})
    query = {"semantic": {"field": "body", "query": "x"}}
    with pytest.raises(BadRequestError) as through:
        stack.gateway.search(index=index_name, query=query)
    with pytest.raises(BadRequestError) as direct:
        stack.es.search(index=index_name, query=query)
    assert through.value.body == direct.value.body
    stack.es.indices.delete(index=index_name)


@pytest.mark.parametrize("track", [True, False, 1, 3, 10_000])
@pytest.mark.parametrize(
    "options", [{}, {"rank_window_size": 1}, {"alpha": 0}, {"alpha": 1}, {"filter": {"exists": {"field": "title"}}}]
)
def test_what_the_legs_count_is_what_elasticsearch_counts(
    stack: Stack, index: str, track: bool | int, options: dict[str, Any]
) -> None:
    """Where nothing else is to be counted, the legs tell the total and it is not asked for."""
    top = {"track_total_hits": track, "size": 1}
    counted = hybrid(stack, "pet animals", top=top, **options)["hits"].get("total")
    asked = hybrid(stack, "pet animals", top={**top, "aggs": {"all": {"value_count": {"field": "_index"}}}}, **options)
    assert counted == asked["hits"].get("total")


def test_a_total_as_a_number(stack: Stack, index: str) -> None:
    answer = stack.gateway.search(index=INDEX, query={"hybrid": {"query": "x"}}, rest_total_hits_as_int=True)
    assert answer["hits"]["total"] == 6


def test_what_came_without_vectors_is_found_by_its_words(stack: Stack, index: str, encoder: Encoder) -> None:
    """Before its vectors are there, a document gets nothing from the semantic leg, and its full share from the lexical one."""
    stack.es.index(index=INDEX, id="new", document={"title": "zyxwv", "kind": "new"}, refresh=True)
    try:
        answer = hybrid(stack, "zyxwv", filter={"term": {"kind": "new"}})
        assert ids(answer) == ["new"]
        assert answer["hits"]["max_score"] >= 0.3
    finally:
        stack.es.delete(index=INDEX, id="new", refresh=True)
        stack.wait(INDEX)


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown key": ({"query": {"hybrid": {"query": "x", "aplha": 1}}}, 400, "aplha"),
    "window below size": (
        {"size": 50, "query": {"hybrid": {"query": "x", "rank_window_size": 5}}},
        400,
        "rank_window_size",
    ),
    "unknown retriever": ({"retriever": {"rrf": {"retrievers": [{"foo": {}}]}}}, 400, "foo"),
    "a broken leg": ({"query": {"hybrid": {"query": "x", "filter": {"nope": {}}}}}, 400, "nope"),
    "a wrong number of dimensions": (
        {
            "retriever": {
                "rrf": {"retrievers": [{"knn": {"field": "esblend.g1.passages.vector", "query_vector": [1.0, 2.0]}}]}
            }
        },
        400,
        "dimension",
    ),
    "text for another field": (
        {
            "retriever": {
                "rrf": {
                    "retrievers": [
                        {"knn": {"field": "other", "query_vector_builder": {"text_embedding": {"model_text": "x"}}}}
                    ]
                }
            }
        },
        400,
        "other",
    ),
    "an option that cannot be combined": ({"query": {"hybrid": {"query": "x"}}, "rescore": {}}, 400, "rescore"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_errors_have_elasticsearchs_shape(stack: Stack, index: str, case: str) -> None:
    body, status, word = REFUSED[case]
    with pytest.raises(BadRequestError) as caught:
        stack.gateway.search(index=INDEX, body=body)
    assert caught.value.meta.status == status == caught.value.body["status"]
    assert {"type", "reason", "root_cause"} <= caught.value.body["error"].keys()
    assert word in str(caught.value.body)


def test_an_index_that_is_not_there_or_not_attached(stack: Stack, index: str, index_name: str) -> None:
    query = {"hybrid": {"query": "x"}}
    with pytest.raises(NotFoundError, match="no such index"):
        stack.gateway.search(index="no-such-index", query=query)
    stack.es.indices.create(index=index_name)
    with pytest.raises(NotFoundError, match="not attached"):
        stack.gateway.search(index=index_name, query=query)
    stack.es.indices.delete(index=index_name)


def test_vectors_do_not_show_up_in_sources(stack: Stack, index: str) -> None:
    [hit] = hybrid(stack, "kitten", top={"size": 1})["hits"]["hits"]
    assert "vector" not in str(hit["_source"])
    assert np.isfinite(hit["_score"])
