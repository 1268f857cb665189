"""Fetches the page of candidates identified by sequence numbers; `query/plan/sequence_numbers.py` explains the reason."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from esblend.errors import UpstreamError
from query.language.tree import Search
from query.page.hits import fused_page, key_of, with_ties
from query.plan.page import counted_query, page_body, tied_page_body, totals_body
from query.plan.sequence_numbers import (
    NumbersMissing,
    nearest_only_body,
    numbered_page_body,
    take_numbers,
    total_of_both,
)
from query.run.candidates import RankedCandidates
from query.run.passages import highlighted_by_words
from query.run.requests import SearchRequests

_TERMS_LIMIT = "max_terms_count"


async def numbered_page(requests: SearchRequests, candidates: RankedCandidates) -> RankedCandidates:
    """The candidates of the first page, with their ids and their hits.

    Raises NumbersMissing if one of them has been written since its number was read, UpstreamError if Elasticsearch rejects the
    request. A request that times out returns the hits that it found.
    """
    search = highlighted_by_words(requests.search, candidates.attachment)
    shown = candidates.fused[: search.size]
    ties = with_ties(candidates.fused, 0, len(shown))
    bodies = _counting_bodies(candidates, search) if shown else [_totals_body(candidates, search)]
    if ties is not None:
        bodies.append(
            numbered_page_body(tied_page_body(ties.positions, search, candidates.match_queries, (), skip=ties.skip))
        )
    elif shown:
        bodies.append(numbered_page_body(page_body([hit.key for hit in shown], search, candidates.match_queries)))
    try:
        responses = await requests.ask("page", bodies)
    except UpstreamError as error:
        if _TERMS_LIMIT in repr(error.body()):  # of `terms` queries; searches by ids have no limit
            raise NumbersMissing from error
        raise
    if not shown:
        return replace(candidates, page=([], responses[0]))
    *counted, response = responses
    wanted = shown if ties is None else ties.hits
    if response["hits"]["total"]["value"] != len(wanted) and not response["timed_out"]:
        raise NumbersMissing
    numbers = take_numbers(response["hits"]["hits"], search)
    ids = {number: key_of(hit) for number, hit in zip(numbers, response["hits"]["hits"], strict=True)}
    in_order = shown if ties is None else ties.in_order_of(numbers)
    fused = [hit._replace(key=ids[hit.key]) for hit in in_order if hit.key in ids]
    counts = {**response, "hits": {"total": _total(candidates, search, counted)}}
    requests.plan["documents"] = "by sequence number"
    return replace(candidates, fused=fused, page=(fused_page(fused, response), counts))


def _counting_bodies(candidates: RankedCandidates, search: Search) -> list[dict[str, Any]]:
    """The request that counts the matches that the legs did not count; empty if the legs counted all."""
    if candidates.total is not None or search.track_total_hits is False:
        return []
    matched = candidates.matched
    if matched is None:
        return [_totals_body(candidates, search)]
    if matched["relation"] != "eq" or not candidates.nearest:
        return []
    [matching] = candidates.match_queries
    return [nearest_only_body(matching, candidates.nearest, search)]


def _totals_body(candidates: RankedCandidates, search: Search) -> dict[str, Any]:
    return totals_body(counted_query(candidates.match_queries, candidates.nearest), {}, search)


def _total(candidates: RankedCandidates, search: Search, counted: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """`hits.total`. `counted`: the response to `_counting_bodies`, if there was one."""
    if candidates.total is not None or search.track_total_hits is False:
        return candidates.total
    value = counted[0]["hits"]["total"] if counted else None
    if candidates.matched is None:
        return value
    return total_of_both(search.track_total_hits, candidates.matched, value["value"] if value is not None else 0)
