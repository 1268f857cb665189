"""Fetches the page: the hits of the request's `from` and `size`, their total and aggregations, in one _msearch."""

from dataclasses import replace
from typing import Any

from esblend.event_loop import off_loop
from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import Hybrid, Search
from query.page.cursors import add_cursors, after_cursor, after_position, positions_below, positions_of
from query.page.explanation import explanation
from query.page.hits import TiedPage, fused_page, key_of, show_fused_scores, with_ties
from query.page.totals import counted_up_to
from query.plan.documents import filtered, source_body
from query.plan.page import counted_query, page_body, sorted_page_body, tied_page_body, totals_body
from query.run.candidates import MANY_CANDIDATES, RankedCandidates
from query.run.leaf_explanations import leaf_explanations
from query.run.passages import add_passages, highlighted_by_words, passage_hits, shown_in_hits
from query.run.requests import SearchRequests

Hits = list[dict[str, Any]]


async def fetch_page(requests: SearchRequests, candidates: RankedCandidates) -> tuple[Hits, dict[str, Any]]:
    """The hits of the page, and the response with the counts and aggregations. Raises EsblendError."""
    if candidates.page is not None:
        hits, counts = candidates.page
        await add_passages(requests, candidates, hits)
        return hits, counts
    if requests.search.needs_elasticsearch_sort:
        return await _sorted_page(requests, candidates)
    return await _fused_page(requests, candidates)


async def _fused_page(requests: SearchRequests, candidates: RankedCandidates) -> tuple[Hits, dict[str, Any]]:
    """The hits of the page in fused order, and the response with the counts."""
    search, attachment = highlighted_by_words(requests.search, candidates.attachment), candidates.attachment
    first = after_cursor(candidates.fused, search.search_after) if search.search_after else search.start
    page = candidates.fused[first : first + search.size]
    keys = [hit.key for hit in page]
    ties = with_ties(candidates.fused, first, first + len(page)) if not search.sort else None
    shown = shown_in_hits(search, candidates)
    bodies = []
    known_total = candidates.total
    if _counts_candidates_only(search, candidates):
        known_total = counted_up_to(search.track_total_hits, len(candidates.fused))
    is_counted = bool(keys) and known_total is not None and not search.counts_more
    if not is_counted:
        bodies.append(await _totals_body(search, candidates))
    if keys and ties is not None:
        bodies.append(tied_page_body(ties.positions, search, candidates.match_queries, shown, skip=ties.skip))
    elif keys:
        bodies.append(page_body(keys, search, candidates.match_queries, shown))
    if keys and ties is None and passage_hits(search) is not None and attachment is not None:
        bodies.append(source_body(keys, attachment.source_fields, search))
    responses = await requests.ask("page", bodies)
    counts = {**responses[0], "hits": {"total": known_total}} if is_counted else responses.pop(0)
    hits = await off_loop(len(page) > MANY_CANDIDATES, _hits_of, page, ties, responses[0]) if keys else []
    sources = responses[1] if len(responses) > 1 else None  # with ties, the page shows which documents are on it
    await add_passages(requests, candidates, hits, sources)
    if search.sort:
        add_cursors(hits)
    await _explain(requests, hits, candidates)
    return hits, counts


def _hits_of(page: list[FusedHit], ties: TiedPage | None, response: dict[str, Any]) -> Hits:
    if ties is not None:
        page = ties.in_order_of([key_of(hit) for hit in response["hits"]["hits"]])
    return fused_page(page, response)


async def _sorted_page(requests: SearchRequests, candidates: RankedCandidates) -> tuple[Hits, dict[str, Any]]:
    """The page as Elasticsearch sorts and collapses the candidates, with their fused scores."""
    search, fused = highlighted_by_words(requests.search, candidates.attachment), candidates.fused
    bodies = [await _totals_body(search, candidates)]
    positions: dict[Key, float] = {**positions_of(fused)}
    if fused:
        shown = after_position(search, fused)
        others = None
        only_in_groups = bool(search.sort) or _counts_candidates_only(search, candidates)
        if search.collapse is not None and (not only_in_groups or "inner_hits" in search.collapse):
            others = counted_query(candidates.match_queries, candidates.nearest)
            if search.post_filter is not None:
                others = filtered(others, [search.post_filter])
            if not only_in_groups:
                shown = replace(shown, size=max(0, min(search.size, len(fused) - search.start)))
        if others is not None:
            positions |= positions_below(candidates.below_minimum)
        added = shown_in_hits(search, candidates)
        body = await off_loop(
            len(positions) > MANY_CANDIDATES, sorted_page_body, positions, shown, candidates.match_queries, added,
            others=others, only_in_groups=only_in_groups,
        )  # fmt: skip
        bodies.append(body)
    responses = await requests.ask("page", bodies)
    hits = responses[1]["hits"]["hits"] if fused else []
    by_key = {hit.key: hit for hit in (*fused, *candidates.below_minimum)}
    show_fused_scores(hits, by_key, positions, search)
    await add_passages(requests, candidates, hits)
    await _explain(requests, hits, candidates)
    return hits, responses[0]


async def _totals_body(search: Search, candidates: RankedCandidates) -> dict[str, Any]:
    scores = {hit.key: hit.score for hit in (*candidates.fused, *candidates.outside_post_filter)}
    is_long = len(scores) > MANY_CANDIDATES
    return await off_loop(is_long, totals_body, counted_by(search, candidates), scores, search)


def counted_by(search: Search, candidates: RankedCandidates) -> dict[str, Any]:
    """The documents that aggregations are over, and, where they pass the post filter, totals."""
    if _counts_candidates_only(search, candidates):
        return counted_query([], [hit.key for hit in (*candidates.fused, *candidates.outside_post_filter)])
    return counted_query(candidates.match_queries, candidates.nearest)


def _counts_candidates_only(search: Search, candidates: RankedCandidates) -> bool:
    ranking = search.ranking
    is_cut = isinstance(ranking, Hybrid) and ranking.autocut is not None
    return candidates.only_candidates or ranking.min_score is not None or is_cut


async def _explain(requests: SearchRequests, hits: Hits, candidates: RankedCandidates) -> None:
    if not requests.search.explain:
        return
    by_key = {hit.key: (rank, hit) for rank, hit in enumerate(candidates.fused, 1)}
    shown = [key for hit in hits if (key := key_of(hit)) in by_key]
    server = await leaf_explanations(requests, candidates, shown)
    for hit in hits:
        if key_of(hit) in by_key:
            rank, of = by_key[key_of(hit)]
            hit["_explanation"] = explanation(of, rank, server)
