"""Fetches the page of candidates identified by sequence numbers; `query/plan/sequence_numbers.py` explains the reason."""

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from esblend.errors import UpstreamError
from esblend.event_loop import off_loop
from query.language.tree import Search
from query.page.hits import TiedPage, fused_page, key_of, with_ties
from query.plan.page import counted_query, tied_page_body, totals_body
from query.plan.sequence_numbers import (
    NumbersMissing,
    has_too_many_numbers,
    nearest_only_body,
    numbered_page_body,
    take_numbers,
    total_of_both,
)
from query.run.candidates import MANY_CANDIDATES, RankedCandidates
from query.run.passages import highlighted_by_words
from query.run.requests import SearchRequests


async def numbered_page(
    requests: SearchRequests, ranking: Coroutine[Any, Any, RankedCandidates]
) -> RankedCandidates | None:
    """The candidates of the first page, with their ids and their hits; None if the search must be executed again with ids, because
    a candidate has been written since its number was read, or because the index accepts fewer numbers.

    `ranking` ranks by number. Raises EsblendError. A request that times out returns the hits that it found.
    """
    before = requests.reported()
    try:
        return await _fetched(requests, await ranking)
    except NumbersMissing:
        pass
    except UpstreamError as error:
        if not has_too_many_numbers(error):
            raise
    requests.begin_again(before)
    return None


async def _fetched(requests: SearchRequests, candidates: RankedCandidates) -> RankedCandidates:
    search = highlighted_by_words(requests.search, candidates.attachment)
    size = min(search.size, len(candidates.fused))
    if not size:
        [response] = await requests.ask("page", [_totals_body(candidates, search)])
        return replace(candidates, page=([], response))
    page = with_ties(candidates.fused, 0, size) or TiedPage(candidates.fused[:size], 0)
    bodies = [*_counting_bodies(candidates, search), _page_body(candidates, search, page, size)]
    *counted, response = await requests.ask("page", bodies)
    found = await off_loop(size > MANY_CANDIDATES, _with_page, candidates, search, page, response, counted)
    requests.plan["documents"] = "by sequence number"
    return found


def _page_body(candidates: RankedCandidates, search: Search, page: TiedPage, size: int) -> dict[str, Any]:
    positions = page.positions if len(page.hits) > size else {hit.key: 1 for hit in page.hits}
    body = tied_page_body(positions, search, candidates.match_queries, (), skip=0)
    return numbered_page_body({**body, "size": size}, candidates.listed)


def _with_page(
    candidates: RankedCandidates,
    search: Search,
    page: TiedPage,
    response: dict[str, Any],
    counted: Sequence[dict[str, Any]],
) -> RankedCandidates:
    """The candidates of a response to `_page_body`. Raises NumbersMissing."""
    hits = response["hits"]["hits"]
    numbers = take_numbers(hits, search)
    wanted = {hit.key for hit in page.hits}
    is_complete = response["hits"]["total"]["value"] == len(candidates.listed) and wanted.issuperset(numbers)
    if not response["timed_out"] and (not is_complete or response["_shards"]["total"] != 1):
        raise NumbersMissing
    ids = dict(zip(numbers, map(key_of, hits), strict=True))
    in_order = page.in_order_of([number for number in numbers if number in wanted])
    fused = [hit._replace(key=ids[hit.key]) for hit in in_order]
    counts = {**response, "hits": {"total": _total(candidates, search, counted)}}
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
