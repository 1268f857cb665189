"""What a retriever tree matches and shows: the queries for totals, for inner hits and names, and whether it is ranked by number."""

from collections.abc import Iterator, Sequence
from typing import Any

from query.fusion.ranked_lists import Key, Scores
from query.language.tree import (
    Fusion,
    KnnLeg,
    Leaf,
    Leg,
    ServerLeg,
    StandardLeg,
    inside,
    kind_of,
    leaves,
)
from query.plan.documents import documents_query, filtered
from query.plan.shown import bare, is_shown


def is_ranked_by_number(leg: Leg) -> bool:
    """Whether sequence numbers can identify the candidates of a tree until the page is fetched: nothing but fusions over plain
    queries and kNN searches, without names or minimum scores."""
    if any_min_score(leg) or not isinstance(leg, Fusion):
        return False
    return all(_is_plain(inner) for inner in fusions_and_leaves(leg))


def _is_plain(leg: Leg) -> bool:
    if isinstance(leg, StandardLeg):
        return not leg.is_named and not leg.options and not is_shown(filtered(leg.query, leg.filters))
    if isinstance(leg, KnnLeg):
        return not leg.is_named and "inner_hits" not in leg.section and not any(map(is_shown, leg.filters))
    return isinstance(leg, Fusion) and leg.name == kind_of(leg)


def fusions_and_leaves(leg: Leg) -> Iterator[Leg]:
    """A leg and all legs below it."""
    yield leg
    for inner in inside(leg):
        yield from fusions_and_leaves(inner)


def matching(leg: StandardLeg) -> dict[str, Any]:
    """The query whose matches are counted."""
    return bare(filtered(leg.query, leg.filters))


def counted(parts: Sequence[Leaf]) -> Iterator[StandardLeg]:
    """The queries whose matches are counted."""
    for part in parts:
        if isinstance(part, StandardLeg):
            yield part
        elif isinstance(part, ServerLeg):
            yield from counted(list(leaves(part.leg)))


def any_min_score(leg: Leg) -> bool:
    """Whether a leg or any leg below it has a minimum score."""
    return leg.min_score is not None or any(any_min_score(child) for child in inside(leg))


def shown_queries(parts: Sequence[Leaf], lists: Sequence[Scores]) -> Iterator[dict[str, Any]]:
    """The legs' queries with `inner_hits` or `_name`; a named leg becomes a named query, as in Elasticsearch."""
    for part, scores in zip(parts, lists, strict=True):
        if isinstance(part, ServerLeg):
            continue
        is_named = part.is_named
        if isinstance(part, StandardLeg):
            query = filtered(part.query, part.filters)
            if is_named or is_shown(query):
                yield {"bool": {"must": [query], "_name": part.name}} if is_named else query
            continue
        yield from filter(is_shown, part.filters)
        if is_named and scores:
            yield named_documents(list(scores), part.name)


def named_documents(keys: Sequence[Key], name: str) -> dict[str, Any]:
    """A query that shows `name` in the `matched_queries` of the documents."""
    return {"bool": {"filter": [documents_query(keys)], "_name": name}}
