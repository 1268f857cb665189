"""Requests for the page of hits, and for totals and aggregations over all documents that a leg matches."""

from collections.abc import Mapping, Sequence
from typing import Any

from query.fusion.ranked_lists import Key
from query.language.tree import Search
from query.plan.documents import documents_query, identified
from query.plan.highlighting import words_of

# Aggregations with any of these read the score of a document.
_READS_SCORE = ("_score", "script", "top_hits", "sampler")
Query = dict[str, Any]


def page_body(
    keys: Sequence[Key], search: Search, highlighted: Sequence[Query], shown: Sequence[Query] = ()
) -> dict[str, Any]:
    """The hits of one page with the parts that the caller asked for.

    `shown`: queries with `inner_hits` or `_name`, which appear in the hits that they match.
    """
    query: Query = {"bool": {"filter": [documents_query(keys)]}}
    if shown:
        query["bool"]["should"] = list(map(_unscored, shown))
    return {**page_options(search, highlighted), "size": len(keys), "query": query}


def tied_page_body(
    positions: Mapping[Key, int], search: Search, highlighted: Sequence[Query], shown: Sequence[Query], *, skip: int
) -> dict[str, Any]:
    """A page with equal scores: Elasticsearch orders it by position, and equal positions by shard and Lucene document.

    `positions`: `TiedPage.positions`. `skip`: how many of their documents come before the page.
    """
    query = _with_unscored(scored_documents(positions), shown)
    return {**page_options(search, highlighted), "size": search.size, "from": skip, "query": query}


def sorted_page_body(
    positions: Mapping[Key, float],
    search: Search,
    highlighted: Sequence[Query],
    shown: Sequence[Query] = (),
    *,
    others: Query | None = None,
    only_in_groups: bool = False,
) -> dict[str, Any]:
    """The page of a search with other sort keys than the fused score, or with `collapse`: Elasticsearch sorts the candidates.

    `positions`: each candidate's position from the worst (1) up; the request uses it as the candidate's score.
    `others`: documents that match a leg but are not candidates. They have the score 0.
    `only_in_groups`: they appear in the `inner_hits` of groups only; otherwise they also have groups without a candidate.
    """
    query = _with_unscored(scored_documents(positions), shown)
    if others is not None:
        query = {"bool": {"should": [query, _constant(others, 0.0)], "minimum_should_match": 1}}
    body = page_options(search, highlighted)
    body |= {"query": query, "size": search.size, "from": search.start, "track_scores": True}
    if others is not None and only_in_groups:
        body["min_score"] = 0.5  # Elasticsearch applies it to the groups, and not to their inner hits
    if search.sort:
        body["sort"] = list(search.sort)
    if search.search_after:
        body["search_after"] = list(search.search_after)
    if search.collapse is not None:
        body["collapse"] = _with_highlighted_groups(search.collapse, highlighted)
    return body


def document_order_body(keys: Sequence[Key], search: Search) -> dict[str, Any]:
    """Returns the documents in the order in which Elasticsearch ranks equal scores: by shard, then by Lucene document."""
    query = _constant(documents_query(keys), 1.0)
    return {**search.common, "size": len(keys), "_source": False, "track_total_hits": False, "query": query}


def counted_query(leg_queries: Sequence[Query], nearest: Sequence[Key]) -> Query:
    """Matches the documents of all legs: matches of the queries, and the nearest documents of a vector."""
    should = [*leg_queries, *([documents_query(nearest)] if nearest else [])]
    return {"bool": {"should": should, "minimum_should_match": 1}} if should else {"match_none": {}}


def candidates_query(counted: Query, scores: Mapping[Key, float]) -> Query:
    """The content of a `bool` query that matches the documents of `counted` and gives candidates their fused scores."""
    return {"filter": [counted], "should": [scored_documents(scores)] if scores else []}


def totals_body(counted: Query, scores: Mapping[Key, float], search: Search) -> dict[str, Any]:
    """Counts and aggregates the documents of `counted`. Aggregations see fused scores, and 0 for other documents.

    `scores`: the fused score of each candidate.
    """
    query = counted
    if scores and search.aggregations is not None and reads_score(search.aggregations):
        query = {"bool": {"must": [_constant(counted, 0.0)], "should": [scored_documents(scores)]}}
    body: dict[str, Any] = {"size": 0, "track_total_hits": search.track_total_hits, "query": query}
    if search.aggregations is not None:
        body["aggs"] = search.aggregations
    if search.post_filter is not None:
        body["post_filter"] = search.post_filter
    if search.suggest is not None:
        body["suggest"] = search.suggest
    return {**search.common, **body}


def reads_score(aggregations: Mapping[str, Any]) -> bool:
    """Whether aggregations may read the score of a document."""
    text = repr(aggregations)
    return any(word in text for word in _READS_SCORE)


def scored_documents(scores: Mapping[Key, float]) -> Query:
    """A query that gives each document its score. Elasticsearch has no negative scores; they become 0."""
    by_index: dict[str, dict[float, list[Key]]] = {}
    for key, score in scores.items():
        by_index.setdefault(key.index, {}).setdefault(max(0.0, score), []).append(key)
    # One clause for each index, and not one for each score: Elasticsearch limits the number of clauses.
    queries = [
        {"bool": {"filter": [{"term": {"_index": index}}], "must": [_scored(by_score)]}}
        for index, by_score in by_index.items()
    ]
    return queries[0] if len(queries) == 1 else {"dis_max": {"queries": queries}}


def _scored(by_score: Mapping[float, Sequence[Key]]) -> Query:
    queries = [_constant(identified(keys), score) for score, keys in by_score.items()]
    return queries[0] if len(queries) == 1 else {"dis_max": {"queries": queries}}


def page_options(search: Search, highlighted: Sequence[Query]) -> dict[str, Any]:
    """What every request for hits of the page has in common."""
    page = _with_words_highlighted(search.page, highlighted)
    if search.shows_no_ids:  # the page's hits are known by their ids, which are left out at the end
        page = {key: value for key, value in page.items() if key != "stored_fields"} | {"_source": False}
    return {**search.common, **page, "track_total_hits": False}


def _with_words_highlighted(options: Mapping[str, Any], highlighted: Sequence[Query]) -> dict[str, Any]:
    """`highlight` reads the words of the legs, unless it names a query."""
    highlight = options.get("highlight")
    if not highlighted or not isinstance(highlight, dict):
        return dict(options)
    words = {"highlight_query": {"bool": {"should": list(map(words_of, highlighted))}}}
    return {**options, "highlight": {**words, **highlight}}


def _with_highlighted_groups(collapse: Mapping[str, Any], highlighted: Sequence[Query]) -> dict[str, Any]:
    groups = collapse.get("inner_hits")
    if isinstance(groups, dict):
        return {**collapse, "inner_hits": _with_words_highlighted(groups, highlighted)}
    if isinstance(groups, list) and all(isinstance(group, dict) for group in groups):
        return {**collapse, "inner_hits": [_with_words_highlighted(group, highlighted) for group in groups]}
    return dict(collapse)


def _with_unscored(query: Query, shown: Sequence[Query]) -> Query:
    return {"bool": {"must": [query], "should": list(map(_unscored, shown))}} if shown else query


def _unscored(query: Query) -> Query:
    return {"bool": {"should": [query], "boost": 0.0}}


def _constant(query: Query, score: float) -> Query:
    return {"constant_score": {"filter": query, "boost": score}}
