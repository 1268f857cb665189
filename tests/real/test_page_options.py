"""Options of the page have the same effect however it is arranged: in fused order, sorted by fields, collapsed into groups."""

from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError
from elasticsearch.helpers import bulk

from tests.conftest import Stack
from tests.real.test_hybrid import DOCUMENTS, INDEX, ids
from tests.real.test_hybrid import index as _index  # noqa: F401  the fixture of the six documents

pytestmark = pytest.mark.usefixtures("_index")
HYBRID: dict[str, Any] = {"query": "pet animals"}
NAMED = {"term": {"kind": {"value": "b", "_name": "by kind"}}}
ARRANGED: dict[str, dict[str, Any]] = {
    "fused": {},
    "sorted": {"sort": ["year"]},
    "ascending": {"sort": [{"_score": "asc"}]},
    "collapsed": {"collapse": {"field": "year"}},
}


def search(stack: Stack, hybrid: dict[str, Any], index: str = INDEX, **options: Any) -> dict[str, Any]:
    params = options.pop("params", {})
    return dict(stack.gateway.search(index=index, body={"query": {"hybrid": hybrid}, **options}, **params).body)


def scores(response: dict[str, Any]) -> dict[str, float]:
    return {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}


def text_of(id_: str) -> str:
    return f"{DOCUMENTS[id_]['title']}\n{DOCUMENTS[id_]['body']}"


@pytest.mark.parametrize("how", ARRANGED)
def test_passages_are_shown(stack: Stack, how: str) -> None:
    plain = search(stack, {**HYBRID, "inner_hits": {}})
    dots = {hit["_id"]: hit["inner_hits"]["passages"]["hits"]["max_score"] for hit in plain["hits"]["hits"]}
    response = search(stack, {**HYBRID, "inner_hits": {"size": 2, "name": "near"}}, **ARRANGED[how])
    assert len(response["hits"]["hits"]) == len(DOCUMENTS)
    for hit in response["hits"]["hits"]:
        [passage] = hit["inner_hits"]["near"]["hits"]["hits"]
        assert passage["fields"]["text"] == [text_of(hit["_id"])]
        assert passage["_score"] == pytest.approx(dots[hit["_id"]], abs=1e-6)


@pytest.mark.parametrize("how", ARRANGED)
def test_a_hit_without_words_shows_its_passage_as_highlight(stack: Stack, how: str) -> None:
    response = search(stack, {"query": "dog"}, highlight={"fields": {"body": {}}}, **ARRANGED[how])
    shown = {hit["_id"]: hit["highlight"]["body"] for hit in response["hits"]["hits"]}
    assert shown.pop("dog") == ["Training a young <em>dog</em> takes patience."]
    assert shown == {id_: [text_of(id_)] for id_ in DOCUMENTS if id_ != "dog"}


def test_groups_are_highlighted_and_show_passages(stack: Stack) -> None:
    group = {"name": "group", "size": 5, "highlight": {"fields": {"body": {}}}}
    hybrid = {"query": "dog", "inner_hits": {}}
    [hit] = [
        hit
        for hit in search(stack, hybrid, collapse={"field": "kind", "inner_hits": group})["hits"]["hits"]
        if hit["_id"] == "dog"
    ]
    inner = {inner_hit["_id"]: inner_hit for inner_hit in hit["inner_hits"]["group"]["hits"]["hits"]}
    assert inner["dog"]["highlight"] == {"body": ["Training a young <em>dog</em> takes patience."]}
    for id_ in ("dog", "cat"):
        [passage] = inner[id_]["inner_hits"]["passages"]["hits"]["hits"]
        assert passage["fields"]["text"] == [text_of(id_)]
    assert hit["inner_hits"]["group"]["hits"]["max_score"] == inner["dog"]["_score"]


@pytest.mark.parametrize("how", ARRANGED)
@pytest.mark.parametrize("clause", ["filter", "filters", "lexical"])
def test_names_in_a_filter_or_a_lexical_query_are_shown(stack: Stack, how: str, clause: str) -> None:
    should = {"bool": {"should": [NAMED, {"match_all": {}}]}}
    options = {"filters": {"semantic": should}} if clause == "filters" else {clause: should}
    response = search(stack, {**HYBRID, **options}, **ARRANGED[how])
    named = {hit["_id"] for hit in response["hits"]["hits"] if hit.get("matched_queries") == ["by kind"]}
    assert named == {"cat", "dog"}


def test_inner_hits_of_joins_in_filters_are_shown(stack: Stack, index_name: str) -> None:
    comments = {"type": "nested", "properties": {"by": {"type": "keyword"}}}
    join = {"type": "join", "relations": {"article": "review"}}
    properties = {"body": {"type": "text"}, "comments": comments, "of": join}
    stack.es.indices.create(index=index_name, mappings={"properties": properties})
    article = {"body": "a young dog", "comments": [{"by": "ann"}, {"by": "bob"}], "of": "article"}
    stack.es.index(index=index_name, id="1", document=article)
    review = {"of": {"name": "review", "parent": "1"}}
    stack.es.index(index=index_name, id="2", routing="1", document=review, refresh=True)
    stack.attach(index_name, "body")
    stack.wait(index_name)
    nested = {"nested": {"path": "comments", "query": {"term": {"comments.by": "bob"}}, "inner_hits": {"name": "c"}}}
    child = {"has_child": {"type": "review", "query": {"match_all": {}}, "inner_hits": {"name": "r"}}}
    try:
        for options in ({}, {"sort": ["_doc"]}):
            [hit] = search(stack, {"query": "dog", "filter": [nested, child]}, index_name, **options)["hits"]["hits"]
            assert hit["inner_hits"]["c"]["hits"]["hits"][0]["_source"] == {"by": "bob"}
            assert hit["inner_hits"]["r"]["hits"]["hits"][0]["_id"] == "2"
        legs = [{"standard": {"query": {"match": {"body": "dog"}}, "filter": nested}}]
        [hit] = stack.gateway.search(index=index_name, retriever={"rrf": {"retrievers": legs}})["hits"]["hits"]
        assert hit["inner_hits"]["c"]["hits"]["total"]["value"] == 1
    finally:
        stack.es.indices.delete(index=index_name)


FAILS_ON_ONE_SHARD = {
    "script": {"script": "if (doc['year'].value == 2003) { throw new IllegalStateException('boom') } return true"}
}


@pytest.mark.parametrize("is_clause", [False, True])
def test_failed_shards_of_the_lexical_leg_are_reported(stack: Stack, is_clause: bool) -> None:
    hybrid = {"hybrid": {**HYBRID, "lexical": FAILS_ON_ONE_SHARD}}
    query: dict[str, Any] = {"bool": {"must": [hybrid]}} if is_clause else hybrid
    response = stack.gateway.search(index=INDEX, query=query)
    assert (response["_shards"]["total"], response["_shards"]["failed"]) == (2, 1)
    assert any("1 of 2 shards failed" in reason for reason in response["esblend"]["degraded"])
    with pytest.raises(ApiError) as caught:
        stack.gateway.search(index=INDEX, query=query, allow_partial_search_results=False)
    assert caught.value.error == "search_phase_execution_exception"


def test_names_of_a_caller_that_equal_those_of_legs_change_no_score(stack: Stack) -> None:
    plain = scores(search(stack, {"query": "dog"}))
    for name in ("lexical", "semantic"):
        named = {"bool": {"should": [{"match_all": {"_name": name}}]}}
        assert scores(search(stack, {"query": "dog", "filter": named})) == plain


def test_ascending_scores_are_paged(stack: Stack) -> None:
    expected = list(reversed(ids(search(stack, HYBRID))))
    body: dict[str, Any] = {"sort": [{"_score": {"order": "asc"}}], "size": 2}
    seen: list[str] = []
    while response := search(stack, HYBRID, **body)["hits"]["hits"]:
        seen += [hit["_id"] for hit in response]
        body["search_after"] = response[-1]["sort"]
    assert seen == expected


def test_a_weight_of_zero_leaves_the_other_weight(stack: Stack) -> None:
    weighted = scores(search(stack, {"query": "dog", "weights": {"lexical": 1, "semantic": 0}}))
    two = scores(search(stack, {"query": "dog", "weights": {"lexical": 2, "semantic": 0}}))
    assert two == {id_: 2 * score for id_, score in weighted.items()}


def test_a_total_is_an_integer_as_from_elasticsearch(stack: Stack) -> None:
    as_int = {"rest_total_hits_as_int": True}
    assert search(stack, HYBRID, params=as_int)["hits"]["total"] == len(DOCUMENTS)
    assert search(stack, HYBRID, track_total_hits=False, params=as_int)["hits"]["total"] == -1
    with pytest.raises(BadRequestError, match="got 3"):
        search(stack, HYBRID, track_total_hits=3, params=as_int)


def test_a_text_with_more_words_than_clauses_is_searched_and_reported(stack: Stack) -> None:
    text = "dog " + " ".join(f"word{number:05}" for number in range(9_900))
    response = search(stack, {"query": text, "alpha": 0})
    assert ids(response) == ["dog"]
    [reason] = response["esblend"]["degraded"]
    assert reason.startswith("lexical: Elasticsearch allows fewer clauses than the text has words")


def test_recency_and_popularity_are_added_to_the_score(stack: Stack) -> None:
    plain = scores(search(stack, HYBRID))
    popular = scores(search(stack, {**HYBRID, "boost_by": {"field": "year", "pivot": 2000, "weight": 0.5}}))
    years = {id_: int(str(document["year"])) for id_, document in DOCUMENTS.items()}
    expected = {id_: score + 0.5 * years[id_] / (years[id_] + 2000) for id_, score in plain.items()}
    assert popular == pytest.approx(expected, abs=1e-6)
    recent = {"field": "year", "origin": 2006, "scale": 1, "decay": 0.5, "weight": 1}
    decayed = scores(search(stack, {**HYBRID, "boost_by": [recent]}))
    expected = {id_: score + 0.5 ** ((2006 - years[id_]) ** 2) for id_, score in plain.items()}
    assert decayed == pytest.approx(expected, abs=1e-5)
    absent = search(stack, {**HYBRID, "boost_by": {"field": "none", "pivot": 1}})
    assert scores(absent) == plain


@pytest.fixture
def one_large_group(stack: Stack, index_name: str) -> Iterator[str]:
    """130 documents of one group that match better, five of other groups, and one without a group."""
    properties = {"body": {"type": "text"}, "group": {"type": "keyword"}}
    stack.es.indices.create(
        index=index_name, mappings={"properties": properties}, settings={"number_of_shards": 1, "number_of_replicas": 0}
    )
    documents = [{"body": "wing wing wing", "group": "large"}] * 130
    documents += [{"body": f"a wing among other words {number}", "group": f"g{number}"} for number in range(5)]
    documents += [{"body": "a wing among other words without a group"}]
    bulk(
        stack.es,
        [{"_index": index_name, "_id": str(n), **document} for n, document in enumerate(documents)],
        refresh=True,
    )
    stack.attach(index_name, "body")
    stack.wait(index_name)
    yield index_name
    stack.es.indices.delete(index=index_name)


def test_collapse_sees_all_matches(stack: Stack, one_large_group: str) -> None:
    collapse = {"field": "group"}
    server = stack.es.search(index=one_large_group, query={"match": {"body": "wing"}}, collapse=collapse, size=20)
    response = search(stack, {"query": "wing"}, one_large_group, collapse=collapse, size=20)
    groups = [hit["fields"]["group"][0] for hit in response["hits"]["hits"] if "fields" in hit]
    assert len(response["hits"]["hits"]) == len(server["hits"]["hits"]) == 7
    assert sorted(groups) == ["g0", "g1", "g2", "g3", "g4", "large"]
    assert response["hits"]["total"]["value"] == 136
    pages = [
        ids(search(stack, {"query": "wing"}, one_large_group, collapse=collapse, size=3, **{"from": start}))
        for start in (0, 3, 6)
    ]
    assert [id_ for page in pages for id_ in page] == ids(response)


@pytest.mark.parametrize("arrangement", [{"sort": ["_doc"]}, {"min_score": 0.5}])
def test_groups_show_all_matches_where_only_candidates_are_hits(
    stack: Stack, one_large_group: str, arrangement: dict[str, Any]
) -> None:
    collapse = {"field": "group", "inner_hits": {"name": "all", "size": 1}}
    options = {"query": "wing", "rank_window_size": 20, "alpha": 0}
    response = search(stack, options, one_large_group, collapse=collapse, size=20, **arrangement)
    totals = {
        hit["_source"]["group"]: hit["inner_hits"]["all"]["hits"]["total"]["value"] for hit in response["hits"]["hits"]
    }
    assert totals["large"] == 130


@pytest.mark.parametrize(
    "groups",
    [
        {"size": 2, "from": 1},
        {"size": 1, "from": 1, "sort": ["_score"]},
        {"size": 3, "sort": [{"group": "asc", "_score": "desc"}]},
        {"size": 2, "from": 500},
    ],
)
def test_groups_have_the_scores_of_their_documents(stack: Stack, one_large_group: str, groups: dict[str, Any]) -> None:
    """In the highest score and in sort values, too: a hybrid of one leg shows what its query shows."""
    query = {"match": {"body": "wing"}}
    collapse = {"field": "group", "inner_hits": {"name": "all", **groups}}
    server = stack.es.search(index=one_large_group, query=query, collapse=collapse, size=20)
    options = {"query": "wing", "alpha": 0, "normalizer": "none", "lexical": query, "rank_window_size": 1000}
    response = search(stack, options, one_large_group, collapse=collapse, size=20)

    def shown(response: Any) -> dict[str, Any]:
        return {
            hit["_source"]["group"]: (inner["max_score"], [inner_hit.get("sort") for inner_hit in inner["hits"]])
            for hit in response["hits"]["hits"]
            if "group" in hit["_source"]
            for inner in [hit["inner_hits"]["all"]["hits"]]
        }

    assert shown(response) == shown(server)


def test_a_boost_by_a_field_without_numbers_is_rejected(stack: Stack) -> None:
    with pytest.raises(BadRequestError, match="runtime error"):
        search(stack, {**HYBRID, "boost_by": {"field": "title", "pivot": 1}})
