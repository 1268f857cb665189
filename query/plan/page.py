"""Requests for the page of hits, and for totals and aggregations over everything that any leg matches."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from query.fusion.ranked_lists import Key
from query.language.tree import Search
from query.plan.documents import documents_query


def page_body(
    keys: Sequence[Key], search: Search, highlighted: Sequence[dict[str, Any]], passages: dict[str, Any] | None
) -> dict[str, Any]:
    """The hits of one page with the parts that the caller asked for."""
    page = dict(search.page)
    if "highlight" in page and highlighted and isinstance(page["highlight"], dict):
        page["highlight"] = {"highlight_query": {"bool": {"should": list(highlighted)}}, **page["highlight"]}
    query: dict[str, Any] = {"bool": {"filter": [documents_query(keys)]}}
    if passages is not None:
        query["bool"]["should"] = [passages]
    return {**search.common, **page, "size": len(keys), "track_total_hits": False, "query": query}


def sorted_page_body(
    positions: Mapping[Key, int], search: Search, highlighted: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The page of a search with other sort keys than the fused score, or with `collapse`: Elasticsearch sorts the candidates.

    `positions`: each candidate's position from the worst (1) up; the request uses it as the candidate's score.
    """
    body = page_body([], search, highlighted, None)
    by_position: dict[int, list[Key]] = {}
    for key, position in positions.items():
        by_position.setdefault(position, []).append(key)
    scored = [
        {"constant_score": {"filter": documents_query(keys), "boost": position}}
        for position, keys in by_position.items()
    ]
    body |= {"query": {"dis_max": {"queries": scored}}, "size": search.size, "from": search.start, "track_scores": True}
    if search.sort:
        body["sort"] = list(search.sort)
    if search.search_after:
        body["search_after"] = list(search.search_after)
    if search.collapse is not None:
        body["collapse"] = search.collapse
    return body


def totals_body(leg_queries: Sequence[dict[str, Any]], nearest: Iterable[Key], search: Search) -> dict[str, Any]:
    """Counts and aggregates everything that any leg matches: all matches of a query, and the nearest documents of a vector."""
    should = [*leg_queries]
    keys = list(nearest)
    if keys:
        should.append(documents_query(keys))
    body: dict[str, Any] = {
        "size": 0,
        "track_total_hits": search.track_total_hits,
        "query": {"bool": {"should": should, "minimum_should_match": 1}} if should else {"match_none": {}},
    }
    if search.aggregations is not None:
        body["aggs"] = search.aggregations
    if search.post_filter is not None:
        body["post_filter"] = search.post_filter
    if search.suggest is not None:
        body["suggest"] = search.suggest
    return {**search.common, **body}
