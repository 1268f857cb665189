"""From fused candidates to the hits that the caller sees."""

from collections.abc import Sequence
from typing import Any

from mappings.attachment import Attachment
from mappings.source import source_text
from query.fusion import Fused, Key
from query.plan import INNER_HITS
from query.request import Search


def show_hits(page: Sequence[Fused], response: dict[str, Any]) -> list[dict[str, Any]]:
    """The fetched hits in fused order with their fused scores. One that was deleted since it was ranked is left out."""
    fetched = {Key(hit["_index"], hit["_id"]): hit for hit in response["hits"]["hits"]}
    hits = []
    for one in page:
        hit = fetched.get(one.key)
        if hit is not None:
            hit["_score"] = one.score
            hits.append(hit)
    return hits


def find_passages(hits: Sequence[dict[str, Any]], sources: dict[str, Any], attachment: Attachment) -> None:
    """Give each hit's best passage its text, beside its offsets: `inner_hits.passages.hits.hits[0].fields.text`."""
    texts = {
        Key(hit["_index"], hit["_id"]): source_text(hit.get("_source") or {}, attachment.source_fields).text
        for hit in sources["hits"]["hits"]
    }
    for hit in hits:
        text = texts.get(Key(hit["_index"], hit["_id"]), "")
        for passage in hit.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", []):
            offsets = passage.get("_source") or {}
            passage["_score"] -= 1  # the script adds 1, since Elasticsearch refuses negative scores
            passage["fields"] = {"text": [text[offsets.get("start", 0) : offsets.get("end", 0)]]}


def total_of(response: dict[str, Any], search: Search, fused: Sequence[Fused]) -> dict[str, Any] | None:
    """`hits.total`: the true match set of all legs; with a minimum score or a cut, the candidates that are left."""
    if search.track_total_hits is False:
        return None
    if search.ranking.min_score is not None or getattr(search.ranking, "autocut", None) is not None:
        return {"value": len(fused), "relation": "eq"}
    total: dict[str, Any] | None = response["hits"].get("total")
    return total


def explanation(one: Fused, combination: str = "sum") -> dict[str, Any]:
    """A score as a tree in Elasticsearch's shape, whose details add up to the value (or have it as their weighted mean)."""
    return {
        "value": one.score,
        "description": f"{combination.replace('_', ' ')} of:",
        "details": [
            {
                "value": part.contribution,
                "description": f"{part.leg}, product of:",
                "details": [
                    {"value": part.weight, "description": "weight", "details": []},
                    {
                        "value": part.normalized,
                        "description": "normalised score",
                        "details": _evidence(part.rank, part.raw),
                    },
                ],
            }
            for part in one.parts
        ],
    }


def _evidence(rank: int | None, raw: float | None) -> list[dict[str, Any]]:
    if rank is None or raw is None:
        return [{"value": 0.0, "description": "not in this leg's list", "details": []}]
    return [
        {"value": rank, "description": "rank in this leg's list", "details": []},
        {"value": raw, "description": "raw score", "details": []},
    ]
