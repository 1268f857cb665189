"""Fetches the page: the hits of the request's `from` and `size`, their total and aggregations, in one _msearch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from query.fusion.ranked_lists import FusedHit
from query.language.tree import Hybrid, Search
from query.page.cursors import add_cursors, after_cursor, after_position, positions_of
from query.page.explanation import explanation
from query.page.hits import fused_page, in_order_of, key_of, show_fused_scores, with_ties
from query.page.passages import add_passage_texts, highlight_passages, semantic_scores
from query.plan.documents import source_body
from query.plan.page import counted_query, page_body, sorted_page_body, tied_page_body, totals_body
from query.run.candidates import RankedCandidates
from query.run.requests import SearchRequests

Hits = list[dict[str, Any]]


async def fetch_page(requests: SearchRequests, candidates: RankedCandidates) -> tuple[Hits, dict[str, Any]]:
    """The hits of the page, and the response with the counts and aggregations. Raises EsblendError."""
    if requests.search.needs_elasticsearch_sort:
        return await _sorted_page(requests, candidates)
    return await _fused_page(requests, candidates)


async def _fused_page(requests: SearchRequests, candidates: RankedCandidates) -> tuple[Hits, dict[str, Any]]:
    """The hits of the page in fused order, and the response with the counts."""
    search, attachment = requests.search, candidates.attachment
    first = after_cursor(candidates.fused, search.search_after) if search.search_after else search.start
    page = candidates.fused[first : first + search.size]
    keys = [hit.key for hit in page]
    ties = with_ties(candidates.fused, first, first + len(page)) if not search.sort else None
    wants_passages = isinstance(search.ranking, Hybrid) and search.ranking.inner_hits
    bodies = []
    known_total = candidates.total
    if _counts_candidates_only(search, candidates):
        known_total = {"value": len(candidates.fused), "relation": "eq"}
    is_counted = bool(keys) and known_total is not None and not search.counts_more
    if not is_counted:
        bodies.append(_totals_body(search, candidates))
    if keys and ties is not None and not wants_passages:
        bodies.append(
            tied_page_body(positions_of(ties.hits), search, candidates.match_queries, candidates.shown, skip=ties.skip)
        )
    elif keys:
        passages = candidates.passages if wants_passages else None
        bodies.append(page_body(keys, search, candidates.match_queries, passages, candidates.shown))
    if keys and wants_passages and attachment is not None:
        bodies.append(source_body(keys, attachment.source_fields, search))
    responses = await requests.ask("page", bodies)
    counts = {**responses[0], "hits": {"total": known_total}} if is_counted else responses.pop(0)
    if ties is not None and not wants_passages and keys:
        page = in_order_of(ties.hits, responses[0])
    hits = fused_page(page, responses[0]) if keys else []
    if len(responses) > 1 and attachment is not None:
        add_passage_texts(hits, responses[1], attachment, semantic_scores(candidates.fused))
    await _highlight_passages(requests, candidates, hits)
    if search.sort:
        add_cursors(hits)
    _explain(search, hits, page)
    return hits, counts


async def _sorted_page(requests: SearchRequests, candidates: RankedCandidates) -> tuple[Hits, dict[str, Any]]:
    """The page as Elasticsearch sorts and collapses the candidates, with their fused scores."""
    search, fused = requests.search, candidates.fused
    bodies = [_totals_body(search, candidates)]
    if fused:
        shown = after_position(search, fused)
        others = None
        if search.collapse is not None and not search.sort and not _counts_candidates_only(search, candidates):
            others = counted_query(candidates.match_queries, candidates.nearest)
            shown = replace(shown, size=max(0, min(search.size, len(fused) - search.start)))
        positions = positions_of(fused)
        bodies.append(sorted_page_body(positions, shown, candidates.match_queries, candidates.shown, others=others))
    responses = await requests.ask("page", bodies)
    hits = responses[1]["hits"]["hits"] if fused else []
    by_key = {hit.key: hit for hit in fused}
    show_fused_scores(hits, by_key, search)
    _explain(search, hits, [by_key[key_of(hit)] for hit in hits if key_of(hit) in by_key])
    return hits, responses[0]


def _totals_body(search: Search, candidates: RankedCandidates) -> dict[str, Any]:
    keys = [hit.key for hit in candidates.fused]
    counted = (
        counted_query([], keys)
        if _counts_candidates_only(search, candidates)
        else counted_query(candidates.match_queries, candidates.nearest)
    )
    return totals_body(counted, {hit.key: hit.score for hit in candidates.fused}, search)


def _counts_candidates_only(search: Search, candidates: RankedCandidates) -> bool:
    ranking = search.ranking
    is_cut = isinstance(ranking, Hybrid) and ranking.autocut is not None
    return candidates.only_candidates or ranking.min_score is not None or is_cut


async def _highlight_passages(requests: SearchRequests, candidates: RankedCandidates, hits: Hits) -> None:
    """A hit that only its vector found has no word to highlight; it shows its best passage instead."""
    search, attachment = requests.search, candidates.attachment
    bare = [hit for hit in hits if not hit.get("highlight")]
    if "highlight" not in search.page or not bare or attachment is None:
        return
    keys = [key_of(hit) for hit in bare]
    plain = replace(search, page={"_source": False})
    bodies = [
        page_body(keys, plain, [], candidates.passages),
        source_body(keys, attachment.source_fields, plain),
    ]
    passages, sources = await requests.ask("best passages", bodies)
    with_passages = passages["hits"]["hits"]
    add_passage_texts(with_passages, sources, attachment, semantic_scores(candidates.fused))
    highlight_passages(bare, with_passages, search.page["highlight"], attachment)


def _explain(search: Search, hits: Hits, fused: Sequence[FusedHit]) -> None:
    if not search.explain:
        return
    combination = str(getattr(search.ranking, "combination", "sum"))
    by_key = {hit.key: hit for hit in fused}
    for hit in hits:
        if key_of(hit) in by_key:
            hit["_explanation"] = explanation(by_key[key_of(hit)], combination)
