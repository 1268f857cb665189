"""Passages of hits: their text as inner hits, and in place of a highlight."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from esblend.wildcards import matching
from mappings.attachment import Attachment
from mappings.source import source_text
from query.fusion.ranked_lists import FusedHit, Key
from query.language.checks import integer
from query.page.hits import key_of
from query.plan.hybrid_legs import SEMANTIC
from query.plan.similarity import similarity_scale

HIGHLIGHT = "esblend highlight"
"""The name of inner hits that become highlights."""
MANY_PASSAGES = 1000
"""For more hits, texts are cut into passages in a thread, so that other callers do not wait."""
_FRAGMENTS = 5
"""Elasticsearch's own default of `number_of_fragments`."""


def whole_scores(fused: Sequence[FusedHit], shown: Container[Key], attachment: Attachment) -> dict[Key, float]:
    """The semantic leg's own score of each `shown` document that has one, for a `hybrid` query on an attachment with one vector
    per document."""
    if attachment.is_nested:
        return {}
    on_page = (hit for hit in fused if hit.key in shown)
    return {hit.key: part.raw for hit in on_page for part in hit.parts if part.leg == SEMANTIC and part.raw is not None}


def add_passage_texts(
    hits: Iterable[dict[str, Any]],
    sources: Mapping[str, Any],
    attachment: Attachment,
    *,
    name: str = "",
    whole: Mapping[Key, float] = MappingProxyType({}),
) -> None:
    """Give the passages among each hit's inner hits their text: `inner_hits.<name>.hits.hits[].fields.text`, in place.

    `name`: the inner hits whose scores become dot products. `whole`: `whole_scores`; the whole text is then the passage.
    """
    texts = {
        key_of(hit): source_text(hit.get("_source") or {}, attachment.source_fields).text
        for hit in sources["hits"]["hits"]
    }
    for hit in hits:
        text = texts.get(key_of(hit), "")
        if attachment.is_nested:
            for group, inner in (hit.get("inner_hits") or {}).items():
                _cut_passages(inner["hits"], text, attachment, shows_dot=group == name)
        elif text and key_of(hit) in whole:
            hit["inner_hits"] = {**hit.get("inner_hits", {}), name: _whole_text(hit, text, whole[key_of(hit)])}


def passage_texts(hit: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a hit's passages, best first."""
    passages = hit.get("inner_hits", {}).get(name, {}).get("hits", {}).get("hits", [])
    return [str(passage["fields"]["text"][0]) for passage in passages if "fields" in passage]


def highlight_from(hit: dict[str, Any], name: str, fields: Mapping[str, int]) -> None:
    """Fill highlights of a hit with the texts of its inner hits `name`, in place. `fields`: how many for each field."""
    texts = passage_texts(hit, name)
    if texts:
        hit["highlight"] = {**hit.get("highlight", {}), **{field: texts[:count] for field, count in fields.items()}}
    if name == HIGHLIGHT and HIGHLIGHT in hit.get("inner_hits", {}):
        del hit["inner_hits"][HIGHLIGHT]
        if not hit["inner_hits"]:
            del hit["inner_hits"]


def highlighted_by_passage(highlight: Any, attachment: Attachment) -> str | None:
    """The first highlighted field that is embedded: under it, a hit without a highlight shows its best passage."""
    patterns = [name for name, _ in _highlighted_fields(highlight)]
    return next((field for name in patterns for field in matching(name, attachment.source_fields)), None)


def semantic_highlights(highlight: Any, attachment: Attachment) -> dict[str, int]:
    """Fields that are highlighted by passages (`type: semantic`), with the number of passages to show."""
    fragments = {}
    for name, options in _highlighted_fields(highlight):
        kind = options.get("type", highlight.get("type")) if isinstance(options, dict) else None
        if kind == "semantic" and name in (attachment.field, *attachment.source_fields):
            fragments[name] = integer(
                options, "number_of_fragments", _FRAGMENTS, low=1, high=100, where=f"highlight.{name}"
            )
    return fragments


def without_fields(highlight: dict[str, Any], names: Container[str]) -> dict[str, Any] | None:
    """`highlight` without some fields; None if no field remains."""
    fields = highlight["fields"]
    if isinstance(fields, list):
        rest: Any = [entry for entry in fields if not any(name in names for name in entry)]
    else:
        rest = {name: options for name, options in fields.items() if name not in names}
    return {**highlight, "fields": rest} if rest else None


def _highlighted_fields(highlight: Any) -> Iterator[tuple[str, Any]]:
    fields = highlight.get("fields") if isinstance(highlight, dict) else None
    for entry in fields if isinstance(fields, list) else [fields]:
        if isinstance(entry, dict):
            yield from entry.items()


def _whole_text(hit: Mapping[str, Any], text: str, score: float) -> dict[str, Any]:
    passage = {
        "_index": hit["_index"], "_id": hit["_id"], "_score": score, "_source": {"start": 0, "end": len(text)},
        "fields": {"text": [text]},
    }  # fmt: skip
    return {"hits": {"total": {"value": 1, "relation": "eq"}, "max_score": score, "hits": [passage]}}


def _cut_passages(inner: dict[str, Any], text: str, attachment: Attachment, *, shows_dot: bool) -> None:
    value = similarity_scale(attachment).of_script
    for passage in inner["hits"]:
        offsets = passage.get("_source") or {}
        if passage.get("_nested", {}).get("field") == attachment.passages_path and {"start", "end"} <= offsets.keys():
            passage["fields"] = {"text": [text[offsets["start"] : offsets["end"]]]}
            if shows_dot and passage.get("_score") is not None:
                passage["_score"] = value(passage["_score"])
    if shows_dot and inner["hits"]:
        inner["max_score"] = inner["hits"][0].get("_score")
