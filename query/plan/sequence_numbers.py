"""Requests whose hits are identified by sequence numbers, for a search of one index with one shard.

Elasticsearch reads the id of a hit from its stored fields. For a hundred hits, this takes longer than the search for them.
`_seq_no` and `_primary_term` are doc values. Together they identify one version of a document. A new primary gives the numbers of
writes that it has not received to other documents, in a higher term.

If a document is written between two requests of a search, the second request does not find its number. The page's request counts
the documents of the legs' lists. If one of them is missing, the search is executed again with ids: a list may have the former
version of a document, and the other list its new version, so that only one leg's score counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from esblend.errors import UpstreamError
from query.fusion.ranked_lists import Key, NumberedKey, keys_from
from query.language.tree import Search
from query.plan.documents import documents_query

_NUMBER, _TERM = "_seq_no", "_primary_term"
_TERMS_LIMIT = "max_terms_count"


class NumbersMissing(Exception):  # noqa: N818
    """Hits have no sequence numbers, or a number no longer identifies exactly one document."""


def needs_only_page(search: Search) -> bool:
    """Whether the response depends on nothing but the hits of the first page and the total."""
    needs_candidates = (
        search.start, search.explain, search.sort, search.search_after, search.collapse, search.counts_more, search.shows_no_ids,
        search.min_score is not None,
    )  # fmt: skip
    return search.size > 0 and not any(needs_candidates)


def numbered(body: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a ranked list with sequence numbers in place of ids."""
    return {
        **{key: value for key, value in body.items() if key != "_source"},
        "stored_fields": "_none_",
        "seq_no_primary_term": True,
    }


def keys_of_hits(hits: Sequence[Mapping[str, Any]]) -> list[Key]:
    """The documents of the hits of a ranked list. Raises NumbersMissing if they have neither ids nor sequence numbers."""
    if hits and "_id" in hits[0]:
        return keys_from([hit["_index"] for hit in hits], [hit["_id"] for hit in hits])
    return _numbers_of(hits)


def _numbers_of(hits: Sequence[Mapping[str, Any]]) -> list[Key]:
    try:
        numbers = [hit[_NUMBER] for hit in hits]
        versions = [f"{number}/{hit[_TERM]}" for number, hit in zip(numbers, hits, strict=True)]
    except KeyError as error:
        raise NumbersMissing from error
    if len(set(numbers)) < len(numbers):
        raise NumbersMissing  # the target changed since its metadata was read
    return keys_from([hit["_index"] for hit in hits], versions, NumberedKey)


def numbered_page_body(body: Mapping[str, Any], candidates: Sequence[Key]) -> dict[str, Any]:
    """A page's request whose hits have their ids and their sequence numbers. It finds all `candidates`, those of the page first.
    If its total is not their number, some numbers no longer exist."""
    query = {"bool": {"filter": [documents_query(candidates)], "should": [body["query"]]}}
    return {**body, "query": query, "seq_no_primary_term": True, "track_total_hits": True}


def take_numbers(hits: Sequence[dict[str, Any]], search: Search) -> list[Key]:
    """The numbered key of each hit of a page. Removes sequence numbers that the caller did not ask for, in place. Raises
    NumbersMissing if a hit has none, or if two hits have the same."""
    keys = _numbers_of(hits)
    if search.page.get("seq_no_primary_term") in (None, False, "false"):
        for hit in hits:
            del hit[_NUMBER], hit[_TERM]
    return keys


def has_too_many_numbers(error: UpstreamError) -> bool:
    """Whether an index accepts fewer numbers in a query. It has no such limit for ids."""
    return _TERMS_LIMIT in repr(error.body())


def nearest_only(matching: Mapping[str, Any], nearest: Sequence[Key] = ()) -> dict[str, Any]:
    """A query for the nearest documents that the lexical query `matching` does not match; without `nearest`, for
    all documents that it does not match."""
    documents = {"filter": [documents_query(nearest)]} if nearest else {}
    return {"bool": {**documents, "must_not": [matching]}}


def nearest_only_body(matching: Mapping[str, Any], nearest: Sequence[Key], search: Search) -> dict[str, Any]:
    """Counts the nearest documents that `matching` does not match."""
    return {**search.common, "size": 0, "track_total_hits": True, "query": nearest_only(matching, nearest)}


def total_of_both(most: bool | int, matched: Mapping[str, Any], nearest_only: int) -> dict[str, Any]:
    """`hits.total` over the matches of the lexical leg and the nearest documents beside them. `most`: `track_total_hits`."""
    if matched["relation"] != "eq":
        return dict(matched)
    value = matched["value"] + nearest_only
    if most is not True and value > int(most):
        return {"value": int(most), "relation": "gte"}
    return {"value": value, "relation": "eq"}
