"""Retrievers that esblend executes behave as Elasticsearch's own: ties, minimum scores, aggregations, collapse, inner hits, errors.

One small index with two shards and no attachment: nothing here needs an encoder.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError

from tests.conftest import Stack

INDEX = "retriever-semantics"
X, Y = {"match": {"b": "x"}}, {"match": {"b": "y"}}


@pytest.fixture(scope="module", autouse=True)
def _index(stack: Stack) -> Iterator[None]:
    properties = {
        "b": {"type": "text"}, "group": {"type": "keyword"}, "n": {"type": "integer"},
        "v": {"type": "dense_vector", "dims": 2, "similarity": "cosine", "index": True},
        "parts": {"type": "nested", "properties": {"p": {"type": "keyword"}}},
    }  # fmt: skip
    stack.es.indices.create(
        index=INDEX, mappings={"properties": properties}, settings={"number_of_shards": 2, "number_of_replicas": 0}
    )
    operations: list[dict[str, Any]] = []
    for number in range(40):
        words = " ".join((["x"] if number % 2 else ["y"]) + (["both x y"] if number % 5 == 0 else []))
        operations += [{"index": {"_id": str(number)}}, {
            "b": words, "group": f"g{number % 3}" if number < 30 else f"h{number}", "n": number,
            "v": [1.0, number / 40], "parts": [{"p": "a"}, {"p": "b"}],
        }]  # fmt: skip
    assert not stack.es.bulk(index=INDEX, operations=operations, refresh=True)["errors"]
    yield
    stack.es.indices.delete(index=INDEX)


def search(stack: Stack, **body: Any) -> dict[str, Any]:
    params = body.pop("params", {})
    return dict(stack.gateway.options().search(index=INDEX, body=body, **params).body)


def leg(query: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"standard": {"query": query, **options}}


def constant(query: dict[str, Any], **options: Any) -> dict[str, Any]:
    return leg({"constant_score": {"filter": query}}, **options)


def rrf(*legs: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"rrf": {"retrievers": list(legs), "rank_window_size": 40, **options}}


def linear(*legs: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"linear": {"retrievers": [{"retriever": each} for each in legs], "rank_window_size": 40, **options}}


def ids(response: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in response["hits"]["hits"]]


def document_order(stack: Stack) -> list[str]:
    """All documents in the order in which Elasticsearch ranks equal scores: by shard, then by Lucene document."""
    return ids(
        dict(stack.es.search(index=INDEX, query={"constant_score": {"filter": {"match_all": {}}}}, size=40).body)
    )


def test_equal_scores_are_ordered_by_shard_and_lucene_document(stack: Stack) -> None:
    order = document_order(stack)
    legs = [constant({"term": {"n": number}}) for number in (33, 4, 21, 8, 15)]
    expected = [id_ for id_ in order if id_ in ("33", "4", "21", "8", "15")]
    assert expected != ["33", "4", "21", "8", "15"]
    for tree in (rrf(*legs), linear(*legs)):
        response = search(stack, retriever=tree, size=5)
        assert ids(response) == expected
        assert len({hit["_score"] for hit in response["hits"]["hits"]}) == 1
        pages = [ids(search(stack, retriever=tree, size=2, **{"from": start})) for start in (0, 2, 4)]
        assert [id_ for page in pages for id_ in page] == expected


def test_a_window_that_ends_between_equal_scores_keeps_the_earlier_documents(stack: Stack) -> None:
    legs = [constant({"term": {"n": number}}) for number in (33, 4, 21, 8, 15)]
    expected = [id_ for id_ in document_order(stack) if id_ in ("33", "4", "21", "8", "15")][:2]
    assert ids(search(stack, retriever=rrf(*legs, rank_window_size=2))) == expected


def test_equal_scores_of_an_inner_fusion_get_their_ranks_by_document(stack: Stack) -> None:
    legs = [constant({"term": {"n": number}}) for number in (33, 4, 21)]
    expected = [id_ for id_ in document_order(stack) if id_ in ("33", "4", "21")]
    response = search(stack, retriever=rrf(rrf(*legs), rank_constant=1))
    assert ids(response) == expected
    assert [hit["_score"] for hit in response["hits"]["hits"]] == pytest.approx([1 / 2, 1 / 3, 1 / 4])


def test_a_minimum_score_beside_a_retriever_cuts_hits_total_and_aggregations(stack: Stack) -> None:
    tree = linear(leg(X), leg(Y))
    aggregations = {"groups": {"terms": {"field": "group"}}, "best": {"max": {"script": "_score"}}}
    whole = search(stack, retriever=tree, aggs=aggregations, size=40)
    scores = [hit["_score"] for hit in whole["hits"]["hits"]]
    assert len(scores) == whole["hits"]["total"]["value"] == 40
    cut = search(stack, retriever=tree, aggs=aggregations, size=40, min_score=scores[5] - 1e-6)
    assert [hit["_score"] for hit in cut["hits"]["hits"]] == [s for s in scores if s >= scores[5] - 1e-6]
    assert cut["hits"]["total"]["value"] == len(cut["hits"]["hits"]) < 40
    assert sum(bucket["doc_count"] for bucket in cut["aggregations"]["groups"]["buckets"]) == len(cut["hits"]["hits"])
    assert cut["aggregations"]["best"]["value"] == pytest.approx(scores[0], rel=1e-6)


def test_a_minimum_score_on_a_leg_cuts_total_and_aggregations(stack: Stack) -> None:
    count = {"count": {"value_count": {"field": "n"}}}
    response = search(stack, retriever=rrf(leg(X, min_score=100), constant({"range": {"n": {"lt": 3}}})), aggs=count)
    assert (response["hits"]["total"]["value"], response["aggregations"]["count"]["value"]) == (3, 3)


def test_aggregations_that_read_the_score_see_the_fused_score(stack: Stack) -> None:
    aggregations = {
        "groups": {
            "terms": {"field": "group", "order": {"best": "desc"}},
            "aggs": {"best": {"max": {"script": "_score"}}, "hit": {"top_hits": {"size": 1, "_source": False}}},
        }
    }
    response = search(stack, retriever=rrf(leg(X), leg(Y)), aggs=aggregations)
    [first, *_] = response["aggregations"]["groups"]["buckets"]
    top = response["hits"]["hits"][0]
    assert first["best"]["value"] == pytest.approx(top["_score"], rel=1e-6)
    assert first["hit"]["hits"]["hits"][0]["_id"] == top["_id"]


@pytest.mark.parametrize("minimum", [{}, {"min_score": 0.1}])
def test_a_post_filter_changes_neither_the_aggregations_nor_the_scores_that_they_see(
    stack: Stack, minimum: dict[str, Any]
) -> None:
    body = {
        "retriever": linear(leg(X), leg(Y)),
        "aggs": {"groups": {"terms": {"field": "group"}}, "scores": {"sum": {"script": "_score"}}},
        **minimum,
    }
    whole = search(stack, **body, size=1)
    [best] = ids(whole)
    cut = search(stack, **body, post_filter={"bool": {"must_not": {"ids": {"values": [best]}}}})
    assert cut["aggregations"]["groups"] == whole["aggregations"]["groups"]
    assert cut["aggregations"]["scores"]["value"] == pytest.approx(whole["aggregations"]["scores"]["value"])
    assert cut["hits"]["total"]["value"] == whole["hits"]["total"]["value"] - 1


def test_collapse_shows_groups_beyond_the_candidates_and_counts_all_matches(stack: Stack) -> None:
    g0 = constant({"bool": {"filter": [{"term": {"group": "g0"}}]}})
    tree = rrf(g0, constant({"match_all": {}}, sort=["n"]), rank_window_size=9)
    collapse = {"field": "group", "inner_hits": {"name": "all", "size": 1}}
    response = search(stack, retriever=tree, collapse=collapse)
    groups = [hit["fields"]["group"][0] for hit in response["hits"]["hits"]]
    assert groups[:3] == ["g0", "g1", "g2"] or set(groups[:3]) == {"g0", "g1", "g2"}
    assert len(groups) == 9
    by_group = {
        hit["fields"]["group"][0]: hit["inner_hits"]["all"]["hits"]["total"] for hit in response["hits"]["hits"]
    }
    assert by_group["g0"] == {"value": 10, "relation": "eq"}
    as_integer = search(stack, retriever=tree, collapse=collapse, params={"rest_total_hits_as_int": True})
    assert as_integer["hits"]["total"] == 40
    assert as_integer["hits"]["hits"][0]["inner_hits"]["all"]["hits"]["total"] == 10


def test_groups_show_all_matches_under_a_minimum_score(stack: Stack) -> None:
    tree = rrf(leg(X), leg(Y))
    collapse = {"field": "group", "inner_hits": {"name": "all", "size": 40}}
    plain = search(stack, retriever=tree, collapse=collapse, size=3)["hits"]
    first, second = (hit["_score"] for hit in plain["hits"][:2])
    cut = search(stack, retriever=tree, collapse=collapse, size=3, min_score=(first + second) / 2)["hits"]
    assert [hit["_id"] for hit in cut["hits"]] == [plain["hits"][0]["_id"]]
    assert cut["total"]["value"] < plain["total"]["value"]
    groups = [response["hits"][0]["inner_hits"]["all"]["hits"] for response in (plain, cut)]
    assert groups[0]["total"] == groups[1]["total"]
    assert [(hit["_id"], hit["_score"]) for hit in groups[0]["hits"]] == [
        (hit["_id"], hit["_score"]) for hit in groups[1]["hits"]
    ]


def test_inner_hits_and_names_of_a_leg_come_with_the_page(stack: Stack) -> None:
    nested = {"nested": {"path": "parts", "query": {"term": {"parts.p": "b"}}, "inner_hits": {"name": "found"}}}
    named = {"bool": {"must": [nested, {"match": {"b": {"query": "x", "_name": "words"}}}]}}
    knn = {"knn": {"field": "v", "query_vector": [1.0, 0.0], "k": 3, "num_candidates": 40, "_name": "near"}}
    response = search(stack, retriever=rrf(leg(named, _name="first"), knn), size=40)
    by_id = {hit["_id"]: hit for hit in response["hits"]["hits"]}
    assert by_id["1"]["inner_hits"]["found"]["hits"]["total"]["value"] == 1
    assert set(by_id["1"]["matched_queries"]) == {"first", "words", "near"}
    assert by_id["2"]["matched_queries"] == ["near"]


def test_a_named_fusion_appears_in_matched_queries(stack: Stack) -> None:
    inner = linear(leg({"term": {"n": 1}}), _name="inner")
    response = search(stack, retriever=rrf(leg(X), inner, _name="outer"), size=40)
    names = {hit["_id"]: set(hit.get("matched_queries", [])) for hit in response["hits"]["hits"]}
    assert names.pop("1") == {"inner", "outer"}
    assert set(map(frozenset, names.values())) == {frozenset({"outer"})}


def test_a_linear_leg_with_a_sort_cuts_by_the_sort_and_adds_the_score(stack: Stack) -> None:
    tree = linear(leg(X, sort=[{"n": "desc"}]), rank_window_size=5)
    expected = stack.es.search(index=INDEX, query=X, sort=[{"n": "desc"}], size=5, track_scores=True)["hits"]["hits"]
    response = search(stack, retriever=tree, size=5)
    scores = {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}
    assert scores == pytest.approx({hit["_id"]: hit["_score"] for hit in expected})


def test_without_a_size_a_retriever_returns_its_window(stack: Stack) -> None:
    """As the server's own `rescorer`."""
    rescore = {"window_size": 5, "query": {"rescore_query": Y}}
    own = dict(
        stack.es.search(index=INDEX, body={"retriever": {"rescorer": {"retriever": leg(X), "rescore": rescore}}})
    )
    assert len(own["hits"]["hits"]) == 5
    for window in (5, 30):
        assert len(ids(search(stack, retriever=rrf(leg(X), leg(Y), rank_window_size=window)))) == window


def test_num_candidates_follows_k(stack: Stack) -> None:
    knn = {"knn": {"field": "v", "query_vector": [1.0, 0.0], "k": 500}}
    assert len(ids(search(stack, retriever=rrf(knn), size=40))) == 40


def test_pinned_scores_stay_above_every_other_score(stack: Stack) -> None:
    response = search(stack, retriever={"pinned": {"ids": ["7", "3"], "retriever": rrf(leg(X))}})
    assert ids(response)[:2] == ["7", "3"]
    first, second, third = (hit["_score"] for hit in response["hits"]["hits"][:3])
    assert first > second >= 1.7e38 > third


def test_values_that_elasticsearch_coerces_are_coerced(stack: Stack) -> None:
    tree = {"linear": {"retrievers": [{"retriever": leg(X), "weight": "2"}], "rank_window_size": "40"}}
    response = search(stack, retriever=tree, size="2", explain="true")
    assert len(response["hits"]["hits"]) == 2
    assert "_explanation" in response["hits"]["hits"][0]
    assert "total" not in search(stack, retriever=tree, track_total_hits=-1)["hits"]


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        ({"sort": ["n"]}, "action_request_validation_exception", "cannot specify [retriever] and [sort]"),
        ({"size": 41}, "action_request_validation_exception", "[rrf] requires [rank_window_size: 40] be greater than or equal to"),
        ({"retriever": {}}, "parsing_exception", "retriever malformed, empty clause found"),
        ({"retriever": {"rrf": {"retrievers": [leg(X)], "query": "x"}}}, "action_request_validation_exception",
         "[rrf] cannot combine [retrievers] and [query]"),
        ({"retriever": {"linear": {"retrievers": [{"retriever": leg(X), "weight": -1}]}}}, "x_content_parse_exception",
         "failed to parse field [weight]"),
        ({"retriever": {"linear": {"normalizer": "l2_norm", "retrievers": [{"retriever": leg(X), "normalizer": "minmax"}]}}},
         "illegal_argument_exception", "All per-retriever normalizers must match the top-level normalizer"),
        ({"retriever": {"linear": {"query": "x", "fields": ["b^-1"], "normalizer": "none"}}}, "illegal_argument_exception",
         "[linear] per-field weights must be non-negative"),
        ({"retriever": linear(leg(X), min_score=-1)}, "illegal_argument_exception",
         "[min_score] must be greater than or equal to 0"),
        ({"from": -1}, "illegal_argument_exception", "[from] parameter cannot be negative but was [-1]"),
        ({"size": -5}, "illegal_argument_exception", "[size] parameter cannot be negative, found [-5]"),
        ({"retriever": {"rrf": {"retrievers": [leg(X)], "foo": 1}}}, "x_content_parse_exception", "[rrf] unknown field [foo]"),
    ],
)  # fmt: skip
def test_errors_have_elasticsearchs_type_and_wording(
    stack: Stack, body: dict[str, Any], error: str, reason: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        search(stack, **{"retriever": rrf(leg(X)), **body})
    assert caught.value.body["error"]["type"] == error
    assert reason in caught.value.body["error"]["reason"]


def test_a_negative_weight_is_the_cause_of_a_parse_error(stack: Stack) -> None:
    with pytest.raises(ApiError) as caught:
        search(stack, retriever={"rrf": {"retrievers": [{"retriever": leg(X), "weight": -0.5}]}})
    assert caught.value.body["error"]["caused_by"] == {
        "type": "illegal_argument_exception",
        "reason": "[weight] must be non-negative, found [-0.5]",
    }


def test_a_leg_that_elasticsearch_rejects_fails_as_in_its_own_compound_retrievers(stack: Stack) -> None:
    wrong = leg({"match": {"v": "x"}})
    rescore = {"window_size": 10, "query": {"rescore_query": X}}
    with pytest.raises(ApiError) as of_the_server:
        stack.es.search(index=INDEX, body={"retriever": {"rescorer": {"retriever": wrong, "rescore": rescore}}})
    for tree, kind in ((rrf(wrong, leg(X)), "rrf"), (rrf(linear(wrong, leg(X)), leg(X)), "linear")):
        with pytest.raises(ApiError) as caught:
            search(stack, retriever=tree)
        assert caught.value.status_code == 400
        given, expected = caught.value.body["error"], of_the_server.value.body["error"]
        assert given["type"] == expected["type"]
        assert given["reason"] == expected["reason"].replace("[rescorer]", f"[{kind}]")
        assert given["suppressed"][0].keys() == expected["suppressed"][0].keys()
        reason = given["suppressed"][0]["failed_shards"][0]["reason"]["reason"]
        assert reason == expected["suppressed"][0]["failed_shards"][0]["reason"]["reason"]


def test_a_leg_that_cannot_be_parsed_fails_with_elasticsearchs_own_error(stack: Stack) -> None:
    with pytest.raises(ApiError) as caught:
        search(stack, retriever=rrf(leg({"foo": {}}), leg(X)))
    assert caught.value.body["error"]["type"] == "parsing_exception"


def test_an_explanation_holds_elasticsearchs_own_of_each_leg(stack: Stack) -> None:
    nearest = {"knn": {"field": "v", "query_vector": [1, 0], "k": 5, "num_candidates": 40}}
    filtered = leg(Y, filter={"range": {"n": {"lte": 30}}})
    response = search(stack, retriever=rrf(leg(X), linear(filtered, nearest)), explain=True, size=20)
    seen = 0
    for hit in response["hits"]["hits"]:
        words, inner = hit["_explanation"]["details"]
        for detail, query in ((words, X), *((detail, Y) for detail in _details(inner)[:1])):
            if _details(detail):
                own = stack.es.explain(index=INDEX, id=hit["_id"], query=query)["explanation"]
                assert _weights(_details(detail)[0]) == _weights(own)
                seen += 1
    assert seen > 20
    assert "within top" in str(response["hits"]["hits"])


def test_explanations_of_knn_and_pinned_documents_have_elasticsearchs_levels_and_numbers(stack: Stack) -> None:
    in_order = stack.es.search(index=INDEX, sort=["_doc"], size=40)["hits"]["hits"]
    numbers = {hit["_id"]: hit["sort"][0] for hit in in_order}
    knn = {"knn": {"field": "v", "query_vector": [1, 0], "k": 3, "num_candidates": 40}}
    response = search(stack, retriever=rrf(leg(X), knn), explain=True, size=40)
    nearest = {hit["_id"]: hit["_explanation"]["details"][1] for hit in response["hits"]["hits"]}
    matching = {id_: detail for id_, detail in nearest.items() if detail["value"]}
    assert len(matching) == 3
    for id_, detail in matching.items():
        [document] = detail["details"]
        number, rank = numbers[id_], detail["value"]
        assert document["description"].startswith(f"doc [{number}] with an original score of [")
        assert document["description"].endswith(f"] is at rank [{rank}] from the following source queries.")
        assert document["details"][0]["description"].startswith("found vector with calculated similarity: ")
    pinned = search(stack, retriever={"pinned": {"ids": ["7"], "retriever": rrf(leg(X))}}, explain=True)["hits"][
        "hits"
    ][0]
    [document] = pinned["_explanation"]["details"]
    assert document["description"].startswith(f"doc [{numbers['7']}] with an original score of [1.70141")


def _details(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """What a detail of a fusion explains further: nothing where the leg lacks the document."""
    return [] if "not found" in tree["description"] else tree["details"]


def _weights(tree: dict[str, Any]) -> list[tuple[float, str]]:
    own = [(tree["value"], tree["description"].split(" in ")[0])] if tree["description"].startswith("weight(") else []
    return own + [weight for detail in tree["details"] for weight in _weights(detail)]


def test_an_unknown_normalizer_is_the_cause_of_a_parse_error(stack: Stack) -> None:
    with pytest.raises(ApiError) as caught:
        search(stack, retriever={"linear": {"retrievers": [{"retriever": leg(X), "normalizer": "soft"}]}})
    assert caught.value.body["error"]["caused_by"] == {
        "type": "illegal_argument_exception",
        "reason": "Unknown normalizer [soft]",
    }


FAILS_ON_ONE_SHARD = {
    "script": {"script": "if (doc['n'].value == 7) { throw new IllegalStateException('boom') } return true"}
}


def test_failed_shards_of_a_leg_are_counted_and_reported(stack: Stack) -> None:
    response = search(stack, retriever=rrf(leg(FAILS_ON_ONE_SHARD), leg(X)), track_total_hits=False)
    assert (response["_shards"]["total"], response["_shards"]["failed"]) == (2, 1)
    assert response["_shards"]["failures"][0]["index"] == INDEX
    assert "lexical: 1 of 2 shards failed" in response["esblend"]["degraded"][0]


def test_a_search_that_allows_no_partial_results_fails(stack: Stack) -> None:
    with pytest.raises(ApiError) as caught:
        search(
            stack,
            retriever=rrf(leg(FAILS_ON_ONE_SHARD), leg(X)),
            params={"allow_partial_search_results": False},
        )
    assert caught.value.body["error"]["suppressed"][0]["type"] == "search_phase_execution_exception"
