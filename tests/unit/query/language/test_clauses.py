"""Query clauses are found where Elasticsearch reads a query, and nowhere else."""

import time
from typing import Any

import pytest

from query.language.clauses import clauses_of, conditions_around, knn_sections, ranked_clauses

SEMANTIC = {"semantic": {"query": "x"}}
TERM = {"term": {"a": 1}}
PLACES: dict[str, dict[str, Any]] = {
    "query": {"query": SEMANTIC},
    "bool, alone": {"query": {"bool": {"must": SEMANTIC}}},
    "bool, in a list": {"query": {"bool": {"filter": [TERM, SEMANTIC]}}},
    "must_not": {"query": {"bool": {"must_not": [SEMANTIC]}}},
    "boosting": {"query": {"boosting": {"positive": TERM, "negative": SEMANTIC}}},
    "constant_score": {"query": {"constant_score": {"filter": SEMANTIC}}},
    "dis_max": {"query": {"dis_max": {"queries": [TERM, SEMANTIC]}}},
    "function_score": {"query": {"function_score": {"query": SEMANTIC}}},
    "a function's filter": {"query": {"function_score": {"functions": [{"filter": SEMANTIC, "weight": 2}]}}},
    "script_score": {"query": {"script_score": {"query": SEMANTIC}}},
    "has_child": {"query": {"has_child": {"type": "c", "query": SEMANTIC}}},
    "pinned": {"query": {"pinned": {"ids": ["1"], "organic": SEMANTIC}}},
    "a kNN query's filter": {"query": {"knn": {"field": "v", "filter": [SEMANTIC]}}},
    "a kNN section's filter": {"knn": [{"field": "v", "filter": SEMANTIC}]},
    "post_filter": {"post_filter": SEMANTIC},
    "rescore": {"rescore": {"query": {"rescore_query": SEMANTIC}}},
    "a retriever": {"retriever": {"rrf": {"retrievers": [{"retriever": {"standard": {"query": SEMANTIC}}, "weight": 2}]}}},
    "a retriever's filter": {"retriever": {"rrf": {"retrievers": [], "filter": SEMANTIC}}},
    "a rescorer": {"retriever": {"rescorer": {"rescore": [{"query": {"rescore_query": SEMANTIC}}]}}},
    "a filter aggregation": {"aggs": {"a": {"terms": {"field": "f"}, "aggs": {"b": {"filter": SEMANTIC}}}}},
    "named filters": {"aggregations": {"a": {"filters": {"filters": {"x": SEMANTIC}}}}},
    "listed filters": {"aggs": {"a": {"filters": {"filters": [SEMANTIC]}}}},
    "background_filter": {"aggs": {"a": {"significant_text": {"field": "f", "background_filter": SEMANTIC}}}},
    "highlight_query": {"highlight": {"fields": {"f": {"highlight_query": SEMANTIC}}}},
    "a nested sort": {"sort": [{"f": {"nested": {"path": "p", "filter": SEMANTIC}}}]},
    "hybrid.filter": {"query": {"hybrid": {"query": "x", "filter": SEMANTIC}}},
    "hybrid.lexical": {"query": {"hybrid": {"query": "x", "lexical": {"bool": {"must": [SEMANTIC]}}}}},
    "hybrid.queries": {"query": {"hybrid": {"queries": [{"nested": {"path": "p", "query": SEMANTIC}}]}}},
    "neural's filter": {"query": {"neural": {"f": {"query_text": "x", "filter": SEMANTIC}}}},
}  # fmt: skip


@pytest.mark.parametrize("position", PLACES)
def test_a_clause_is_found_in_every_place_of_a_query(position: str) -> None:
    assert [clause.holder for clause in clauses_of(PLACES[position]) if clause.kind == "semantic"] == [SEMANTIC]


@pytest.mark.parametrize("body", [
    {"query": {"match": {"semantic": {"query": "word"}}}},
    {"query": {"term": {"hybrid": {"value": "word"}}}},
    {"query": {"match": {"knn": {"query": "word"}}}},
    {"query": {"bool": {"filter": [{"terms": {"neural": ["a"]}}]}}},
    {"query": {"script_score": {"query": TERM, "script": {"params": {"semantic": {"query": "x"}}}}}},
    {"aggs": {"semantic": {"terms": {"field": "linear"}}}},
    {"_source": {"semantic": {"query": "x"}}},
    {"script_fields": {"x": {"script": {"params": {"q": {"semantic": {"query": "x"}}}}}}},
])  # fmt: skip
def test_a_field_or_parameter_with_the_name_of_a_clause_is_not_a_clause(body: dict[str, Any]) -> None:
    assert list(ranked_clauses(body)) == []


def test_knn_sections_are_those_beside_the_query_and_in_retrievers() -> None:
    section = {"field": "v", "query_vector": [1]}
    tree = {"rrf": {"retrievers": [{"knn": section}, {"pinned": {"retriever": {"knn": section}}}]}}
    assert list(knn_sections({"knn": [section], "retriever": tree})) == [section] * 3
    assert list(knn_sections({"query": {"knn": section}})) == []


def test_the_path_of_the_enclosing_nested_query_is_known() -> None:
    body = {"query": {"nested": {"path": "p", "query": {"bool": {"must": [SEMANTIC]}}}}}
    [clause] = ranked_clauses(body)
    assert clause.nested == "p"


def test_conditions_of_enclosing_queries_also_hold_for_a_clause() -> None:
    other = {"term": {"b": 2}}
    inner = {"bool": {"must": [{"hybrid": {"query": "x"}}, other], "must_not": [{"term": {"c": 3}}], "should": [TERM]}}
    body = {"query": {"bool": {"filter": TERM, "must": [{"function_score": {"query": inner}}]}}}
    [clause] = ranked_clauses(body)
    assert conditions_around(clause) == [other, TERM, {"bool": {"must_not": [{"term": {"c": 3}}]}}]


def test_deep_queries_are_walked_in_linear_time() -> None:
    query: dict[str, Any] = {"hybrid": {"query": "x"}}
    for _ in range(3000):
        query = {"bool": {"must": [query, TERM]}}
    began = time.thread_time()
    [clause] = ranked_clauses({"query": query})
    conditions_around(clause)
    assert time.thread_time() - began < 2
