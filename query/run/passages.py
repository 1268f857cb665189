"""Passages of hits: their texts among the inner hits, and passages in place of highlights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from esblend.event_loop import off_loop
from mappings.attachment import Attachment
from query.fusion.ranked_lists import Key
from query.language.semantic import PassageHits
from query.language.tree import Hybrid, Search
from query.page.hits import every_hit, key_of
from query.page.passages import (
    HIGHLIGHT,
    MANY_PASSAGES,
    add_passage_texts,
    highlighted_by_passage,
    passage_texts,
    semantic_highlights,
    whole_scores,
    without_fields,
)
from query.plan.documents import source_body
from query.plan.knn import Vector, best_passage_clause
from query.plan.page import page_body
from query.run.candidates import RankedCandidates
from query.run.requests import SearchRequests

Hits = list[dict[str, Any]]


def passage_hits(search: Search) -> PassageHits | None:
    """`hybrid.inner_hits` of a search."""
    return search.ranking.inner_hits if isinstance(search.ranking, Hybrid) else None


def highlighted_by_words(search: Search, attachment: Attachment | None) -> Search:
    """The search without the highlights that passages fill (`type: semantic`), which older servers do not know."""
    highlight = search.page.get("highlight")
    if attachment is None or not (fields := semantic_highlights(highlight, attachment)):
        return search
    rest = without_fields(search.page["highlight"], fields)
    page = {key: value for key, value in search.page.items() if key != "highlight"}
    return replace(search, page=page if rest is None else {**page, "highlight": rest})


def shown_in_hits(search: Search, candidates: RankedCandidates) -> tuple[dict[str, Any], ...]:
    """Queries that add inner hits or names to hits: the caller's own, and the one that finds passages."""
    inner_hits = passage_hits(search)
    if inner_hits is None or candidates.attachment is None or candidates.vector is None:
        return candidates.shown
    if not candidates.attachment.is_nested:
        return candidates.shown
    return (*candidates.shown, best_passage_clause(candidates.attachment, candidates.vector, inner_hits))


async def add_passages(
    requests: SearchRequests, candidates: RankedCandidates, hits: Hits, sources: Mapping[str, Any] | None = None
) -> None:
    """Add texts to passages, and highlights by passage, in place. `sources`: the texts of the hits, if already read."""
    search, attachment = requests.search, candidates.attachment
    if attachment is None or not hits:
        return
    inner_hits = passage_hits(search)
    if inner_hits is not None:
        shown = list(every_hit(hits))
        keys = [key_of(hit) for hit in shown]
        if sources is None:
            body = source_body(keys, attachment.source_fields, search)
            [sources] = await requests.ask("passages", [body])
        whole = whole_scores(candidates.fused, set(keys), attachment)
        await off_loop(
            len(shown) > MANY_PASSAGES, add_passage_texts, shown, sources, attachment, name=inner_hits.name, whole=whole
        )
    await _highlight(requests, candidates, attachment, hits)


async def _highlight(
    requests: SearchRequests, candidates: RankedCandidates, attachment: Attachment, hits: Hits
) -> None:
    """A hit that only its vector found has no word to highlight and shows its best passage; `type: semantic` always does."""
    highlight = requests.search.page.get("highlight")
    semantic = semantic_highlights(highlight, attachment)
    fallback = highlighted_by_passage(highlight, attachment)
    shown = [hit for hit in every_hit(hits) if semantic or not hit.get("highlight")]
    if highlight is None or not shown or (not semantic and fallback is None):
        return
    size = max(semantic.values(), default=1)
    texts = await _texts(requests, candidates, attachment, [key_of(hit) for hit in shown], candidates.vector, size)
    for hit in shown:
        passages = texts.get(key_of(hit), [])
        fragments_by_field = {field: passages[:fragments] for field, fragments in semantic.items() if passages}
        if not semantic and passages and not hit.get("highlight"):
            fragments_by_field = {str(fallback): passages[:1]}
        if fragments_by_field:
            hit["highlight"] = {**hit.get("highlight", {}), **fragments_by_field}


async def _texts(
    requests: SearchRequests, candidates: RankedCandidates, attachment: Attachment, keys: Sequence[Key],
    vector: Vector | None, size: int,
) -> dict[Key, list[str]]:  # fmt: skip
    """The texts of each document's best passages; its whole text if the index has one vector per document."""
    plain = replace(requests.search, page={"_source": False})
    clauses = []
    if vector is not None and attachment.is_nested:
        clauses = [best_passage_clause(attachment, vector, PassageHits(size, name=HIGHLIGHT))]
    bodies = [page_body(keys, plain, [], clauses), source_body(keys, attachment.source_fields, plain)]
    responses, sources = await requests.ask("best passages", bodies)
    hits = responses["hits"]["hits"]
    whole = whole_scores(candidates.fused, set(keys), attachment)
    await off_loop(len(hits) > MANY_PASSAGES, add_passage_texts, hits, sources, attachment, name=HIGHLIGHT, whole=whole)
    return {key_of(hit): passage_texts(hit, HIGHLIGHT) for hit in hits}
