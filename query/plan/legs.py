"""From a leaf of the retriever tree to the Elasticsearch request for its ranked list."""

from collections.abc import Sequence
from typing import Any

from query.fusion.ranked_lists import Key
from query.language.tree import Leaf, Search, ServerLeg, StandardLeg
from query.plan.documents import documents_query, filtered
from query.plan.knn import num_candidates
from query.plan.shown import bare


def leaf_body(leg: Leaf, window: int, search: Search, *, track_total_hits: bool | int = False) -> dict[str, Any]:
    """The request for one leg's ranked list: ids and scores only."""
    body: dict[str, Any] = {"size": window, "_source": False, "track_total_hits": track_total_hits}
    if isinstance(leg, ServerLeg):
        body |= {"retriever": leg.retriever, "size": min(window, leg.window)}
    elif isinstance(leg, StandardLeg):
        body |= {"query": filtered(bare(leg.query), list(map(bare, leg.filters))), **leg.options}
        if "sort" in leg.options:
            body["track_scores"] = True  # a linear combination adds up the scores of a sorted leg
    else:
        k = leg.section.get("k", window)
        body["knn"] = {"k": k, "num_candidates": num_candidates(k), **leg.section}
        if leg.filters:
            body["knn"]["filter"] = list(map(bare, leg.filters))
    if leg.min_score is not None and not isinstance(leg, ServerLeg):
        body["min_score"] = leg.min_score
    if search.profile:
        body["profile"] = True
    return {**search.common, **body}


def explained_body(leg: Leaf, window: int, keys: Sequence[Key], search: Search) -> dict[str, Any]:
    """The request for Elasticsearch's explanation of documents' scores in one leg."""
    if not isinstance(leg, StandardLeg):  # which documents are nearest depends on all documents
        return {**leaf_body(leg, window, search), "explain": True}
    query = filtered(bare(leg.query), list(map(bare, leg.filters)))
    query = {"bool": {"must": [query], "filter": [documents_query(keys)]}}
    return {**search.common, "size": len(keys), "_source": False, "explain": True, "query": query}


def count_body(filters: Sequence[dict[str, Any]], limit: int, search: Search) -> dict[str, Any]:
    """Counts the documents that pass the filters, up to `limit` + 1."""
    query: dict[str, Any] = {"bool": {"filter": list(map(bare, filters))}} if filters else {"match_all": {}}
    return {**search.common, "size": 0, "track_total_hits": limit + 1, "terminate_after": limit + 1, "query": query}
