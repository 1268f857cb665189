"""From fused candidates and fetched documents to the hits that the caller sees."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import Search


def key_of(hit: Mapping[str, Any]) -> Key:
    return Key(hit["_index"], hit["_id"])


def fused_page(page: Sequence[FusedHit], response: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fetched hits in fused order with their fused scores. A document that was deleted since the ranking is left out."""
    fetched = {key_of(hit): hit for hit in response["hits"]["hits"]}
    return [{**fetched[fused.key], "_score": fused.score} for fused in page if fused.key in fetched]


def show_fused_scores(hits: Sequence[dict[str, Any]], fused: Mapping[Key, FusedHit], search: Search) -> None:
    """Replace the positions by which Elasticsearch sorted or collapsed with fused scores, also in inner hits, in place."""
    for hit in _with_inner_hits(hits):
        candidate = fused.get(key_of(hit))
        if candidate is not None:
            hit["_score"] = candidate.score
    for hit in hits:
        for position, key in enumerate(search.sort_keys):
            if key == "_score" and position < len(hit.get("sort", [])):
                hit["sort"][position] = hit["_score"]


def _with_inner_hits(hits: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for hit in hits:
        yield hit
        for inner in (hit.get("inner_hits") or {}).values():
            yield from _with_inner_hits(inner["hits"]["hits"])
