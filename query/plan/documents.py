"""Requests on known documents: which of them match a query, their texts, and their vectors."""

from collections.abc import Sequence
from typing import Any

from query.fusion.ranked_lists import Key, NumberedKey
from query.language.tree import Search


def documents_query(keys: Sequence[Key]) -> dict[str, Any]:
    """A query for exactly these documents. Ids are unique within an index only."""
    by_index: dict[tuple[str, bool], list[str]] = {}
    for key in dict.fromkeys(keys):
        by_index.setdefault((key.index, isinstance(key, NumberedKey)), []).append(key.id)
    clauses = [
        {"bool": {"filter": [
            {"term": {"_index": index}}, {"terms": {"_seq_no": ids}} if is_numbered else {"ids": {"values": ids}},
        ]}}
        for (index, is_numbered), ids in by_index.items()
    ]  # fmt: skip
    return clauses[0] if len(clauses) == 1 else {"bool": {"should": clauses, "minimum_should_match": 1}}


def filtered(query: dict[str, Any], filters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"must": [query], "filter": list(filters)}} if filters else query


def matching_body(keys: Sequence[Key], query: dict[str, Any], search: Search) -> dict[str, Any]:
    """Returns the documents that match a query, with their scores."""
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
