"""From fused candidates to the hits that the caller sees."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from esblend.errors import InvalidRequest
from mappings.attachment import Attachment
from mappings.source import source_text
from query.fusion.ranked_lists import FusedHit, Key, LegContribution
from query.language.tree import Hybrid, Search
from query.plan.bodies import INNER_HITS, SEMANTIC
from query.plan.similarity import similarity_scale


def show_hits(page: Sequence[FusedHit], response: dict[str, Any]) -> list[dict[str, Any]]:
    """The fetched hits in fused order with their fused scores. One that was deleted since it was ranked is left out."""
    fetched = {Key(hit["_index"], hit["_id"]): hit for hit in response["hits"]["hits"]}
    hits = []
    for one in page:
        hit = fetched.get(one.key)
        if hit is not None:
            hit["_score"] = one.score
            hits.append(hit)
    return hits


def show_arranged(hits: Sequence[dict[str, Any]], fused: Mapping[Key, FusedHit], search: Search) -> None:
    """Give hits that Elasticsearch sorted or collapsed, their inner hits too, the fused score for the place it sorted by."""
    for hit in _with_inner(hits):
        one = fused.get(Key(hit["_index"], hit["_id"]))
        if one is not None:
            hit["_score"] = one.score
    for hit in hits:
        for position, key in enumerate(search.sort_keys):
            if key == "_score" and position < len(hit.get("sort", [])):
                hit["sort"][position] = hit["_score"]


def _with_inner(hits: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for hit in hits:
        yield hit
        for inner in (hit.get("inner_hits") or {}).values():
            yield from _with_inner(inner["hits"]["hits"])


def places_of(fused: Sequence[FusedHit]) -> dict[Key, int]:
    """Each candidate's place from the worst (1) up; equal scores share one."""
    places: dict[Key, int] = {}
    scores = {score: place for place, score in enumerate(sorted({one.score for one in fused}), 1)}
    for one in fused:
        places[one.key] = scores[one.score]
    return places


def arranged_after(search: Search, fused: Sequence[FusedHit]) -> Search:
    """The search with the place in `search_after` that belongs to the score there."""
    after = list(search.search_after)
    for position, key in enumerate(search.sort_keys[: len(after)]):
        if key == "_score":
            value = _score(after[position])
            below = len({one.score for one in fused if one.score < value})
            after[position] = below + (1.0 if any(one.score == value for one in fused) else 0.5)
    return replace(search, search_after=tuple(after))


def after_cursor(fused: Sequence[FusedHit], after: Sequence[Any]) -> int:
    """Where the page after a cursor begins: behind its document, or where that is gone behind its score."""
    value = _score(after[0])
    if len(after) > 1:
        for position, one in enumerate(fused):
            if one.score == value and _tie(one.key) == after[1]:
                return position + 1
    return next((position for position, one in enumerate(fused) if one.score < value), len(fused))


def add_cursors(hits: Sequence[dict[str, Any]]) -> None:
    """`sort` values of hits in fused order: the score, and the document, since scores may be equal."""
    for hit in hits:
        hit["sort"] = [hit["_score"], _tie(Key(hit["_index"], hit["_id"]))]


def _tie(key: Key) -> str:
    return f"{key.index}/{key.id}"


def _score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"[search_after]: [{value}] is no score; give the [sort] values of the last hit")
    return float(value)


def highlight_passages(
    bare: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], highlight: Any, attachment: Attachment
) -> None:
    """Give hits without a highlight the text of their best passage, under the first embedded field that was asked for."""
    asked = highlight.get("fields") if isinstance(highlight, dict) else None
    named = [name for one in (asked if isinstance(asked, list) else [asked]) if isinstance(one, dict) for name in one]
    field = next((f for name in named for f in attachment.source_fields if fnmatchcase(f, name)), None)
    texts = {Key(hit["_index"], hit["_id"]): _passage_text(hit) for hit in found}
    for hit in bare:
        text = texts.get(Key(hit["_index"], hit["_id"]))
        if field is not None and text:
            hit["highlight"] = {field: [text]}


def _passage_text(hit: dict[str, Any]) -> str:
    passages = hit.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", [])
    return str(passages[0]["fields"]["text"][0]) if passages else ""


def nearness_of(fused: Sequence[FusedHit]) -> dict[Key, float]:
    """What the semantic leg of a `hybrid` query says of each document that it knows."""
    return {one.key: part.raw for one in fused for part in one.parts if part.leg == SEMANTIC and part.raw is not None}


def show_whole_texts(
    hits: Sequence[dict[str, Any]], sources: dict[str, Any], attachment: Attachment, near: Mapping[Key, float]
) -> None:
    """As `find_passages` where a document has one vector: its text is the passage. `near`: those that have one."""
    for hit, source in _with_texts(hits, sources, attachment):
        nearness = near.get(Key(hit["_index"], hit["_id"]))
        if nearness is not None and source:
            passage = {
                "_index": hit["_index"], "_id": hit["_id"], "_score": nearness, "_source": {"start": 0, "end": len(source)},
                "fields": {"text": [source]},
            }  # fmt: skip
            total = {"value": 1, "relation": "eq"}
            inside = {"hits": {"total": total, "max_score": nearness, "hits": [passage]}}
            hit["inner_hits"] = {**hit.get("inner_hits", {}), INNER_HITS: inside}


def find_passages(hits: Sequence[dict[str, Any]], sources: dict[str, Any], attachment: Attachment) -> None:
    """Give each hit's best passage its text, beside its offsets: `inner_hits.passages.hits.hits[0].fields.text`."""
    value = similarity_scale(attachment).of_script
    for hit, text in _with_texts(hits, sources, attachment):
        for passage in hit.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", []):
            offsets = passage.get("_source") or {}
            passage["_score"] = value(passage["_score"])
            passage["fields"] = {"text": [text[offsets.get("start", 0) : offsets.get("end", 0)]]}


def _with_texts(
    hits: Sequence[dict[str, Any]], sources: dict[str, Any], attachment: Attachment
) -> Iterator[tuple[dict[str, Any], str]]:
    texts = {
        Key(hit["_index"], hit["_id"]): source_text(hit.get("_source") or {}, attachment.source_fields).text
        for hit in sources["hits"]["hits"]
    }
    for hit in hits:
        yield hit, texts.get(Key(hit["_index"], hit["_id"]), "")


def total_of(response: dict[str, Any], search: Search, fused: Sequence[FusedHit]) -> dict[str, Any] | None:
    """`hits.total`: the true match set of all legs; with a minimum score or a cut, the candidates that are left."""
    if search.track_total_hits is False:
        return None
    autocut = search.ranking.autocut if isinstance(search.ranking, Hybrid) else None
    if search.ranking.min_score is not None or autocut is not None:
        return {"value": len(fused), "relation": "eq"}
    total: dict[str, Any] | None = response["hits"].get("total")
    return total


def explanation(one: FusedHit, combination: str = "sum") -> dict[str, Any]:
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
                        "details": _evidence(part),
                    },
                ],
            }
            for part in one.parts
        ],
    }


def _evidence(part: LegContribution) -> list[dict[str, Any]]:
    found = {"rank in this leg's list": part.rank, "raw score": part.raw, "raw dot product": part.dot}
    evidence = [
        {"value": value, "description": what, "details": []} for what, value in found.items() if value is not None
    ]
    return evidence or [{"value": 0.0, "description": "not in this leg's list", "details": []}]
