"""Requests on known documents: which of them match a query, their texts, and their vectors."""

from collections.abc import Sequence
from typing import Any, TypeVar

from query.fusion.ranked_lists import Key, NumberedKey
from query.language.checks import MAX_WINDOW
from query.language.tree import Search

V = TypeVar("V")


def documents_query(keys: Sequence[Key]) -> dict[str, Any]:
    """A query for exactly these documents. Ids are unique within an index only."""
    by_index: dict[str, list[Key]] = {}
    for key in dict.fromkeys(keys):
        by_index.setdefault(key.index, []).append(key)
    return _any_of(
        [{"bool": {"filter": [{"term": {"_index": index}}, identified(own)]}} for index, own in by_index.items()]
    )


def identified(keys: Sequence[Key]) -> dict[str, Any]:
    """A query for documents of one index by their ids or sequence numbers, without a condition on the index."""
    numbers = [key.number for key in keys if isinstance(key, NumberedKey)]
    if numbers:
        return {"terms": {"_seq_no": numbers}}
    ids = [key.id for key in keys]
    return _any_of([{"ids": {"values": list(part)}} for part in parts_of_result(ids)] or [{"ids": {"values": []}}])


def parts_of_result(values: Sequence[V]) -> list[Sequence[V]]:
    """The values in parts of 10,000: an `ids` query accepts no more, and a response contains no more. The legs of a search
    may find twice as many documents."""
    return [values[start : start + MAX_WINDOW] for start in range(0, len(values), MAX_WINDOW)]


def _any_of(clauses: list[dict[str, Any]]) -> dict[str, Any]:
    return clauses[0] if len(clauses) == 1 else {"bool": {"should": clauses, "minimum_should_match": 1}}


def filtered(query: dict[str, Any], filters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"must": [query], "filter": list(filters)}} if filters else query


def matching_body(keys: Sequence[Key], query: dict[str, Any], search: Search) -> dict[str, Any]:
    """Returns the documents, at most 10,000, that match a query, with their scores."""
    return _body(keys, search) | {"query": {"bool": {"filter": [documents_query(keys)], "must": [query]}}}


def vectors_body(keys: Sequence[Key], field: str, search: Search, *, hidden: bool = True) -> dict[str, Any]:
    """The values of a vector field, as they were written. `hidden`: the server leaves vectors out of `_source` unless asked."""
    source: dict[str, Any] = {"includes": [field]}
    return _body(keys, search) | {"_source": {**source, "exclude_vectors": False} if hidden else source}


def source_body(keys: Sequence[Key], fields: Sequence[str], search: Search) -> dict[str, Any]:
    """Returns the text fields of documents, for passages and for a cross-encoder."""
    return _body(keys, search) | {"_source": list(fields)}


def numbers_body(keys: Sequence[Key], search: Search) -> dict[str, Any]:
    """Returns Lucene's number of each document as its only sort value."""
    return _body(keys, search) | {"sort": ["_doc"]}


def _body(keys: Sequence[Key], search: Search) -> dict[str, Any]:
    query = documents_query(keys)
    return {**search.common, "size": len(keys), "_source": False, "track_total_hits": False, "query": query}
