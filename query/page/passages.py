"""Passages of hits: their text as inner hits, and in place of a highlight."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from mappings.attachment import Attachment
from mappings.source import source_text
from query.fusion.ranked_lists import FusedHit, Key
from query.page.hits import key_of
from query.plan.hybrid_legs import SEMANTIC
from query.plan.knn import INNER_HITS
from query.plan.similarity import similarity_scale


def semantic_scores(fused: Sequence[FusedHit]) -> dict[Key, float]:
    """The semantic leg's own score of each document that has one, for a `hybrid` query."""
    return {hit.key: part.raw for hit in fused for part in hit.parts if part.leg == SEMANTIC and part.raw is not None}


def add_passage_texts(
    hits: Sequence[dict[str, Any]], sources: Mapping[str, Any], attachment: Attachment, semantic: Mapping[Key, float]
) -> None:
    """Give each hit's best passage its text: `inner_hits.passages.hits.hits[0].fields.text`, in place.

    `semantic`: scores of the semantic leg, for attachments with one vector per document: there the whole text is the passage.
    """
    if attachment.is_nested:
        _cut_passages(hits, sources, attachment)
    else:
        _show_whole_texts(hits, sources, attachment, semantic)


def highlight_passages(
    hits: Sequence[dict[str, Any]], with_passages: Sequence[dict[str, Any]], highlight: Any, attachment: Attachment
) -> None:
    """Give hits without a highlight the text of their best passage, under the first highlighted field that is embedded."""
    fields = highlight.get("fields") if isinstance(highlight, dict) else None
    entries = fields if isinstance(fields, list) else [fields]
    patterns = [name for entry in entries if isinstance(entry, dict) for name in entry]
    field = next((f for name in patterns for f in attachment.source_fields if fnmatchcase(f, name)), None)
    texts = {key_of(hit): _passage_text(hit) for hit in with_passages}
    for hit in hits:
        text = texts.get(key_of(hit))
        if field is not None and text:
            hit["highlight"] = {field: [text]}


def _passage_text(hit: Mapping[str, Any]) -> str:
    passages = hit.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", [])
    return str(passages[0]["fields"]["text"][0]) if passages else ""


def _show_whole_texts(
    hits: Sequence[dict[str, Any]], sources: Mapping[str, Any], attachment: Attachment, semantic: Mapping[Key, float]
) -> None:
    for hit, text in _with_texts(hits, sources, attachment):
        score = semantic.get(key_of(hit))
        if score is not None and text:
            passage = {
                "_index": hit["_index"], "_id": hit["_id"], "_score": score, "_source": {"start": 0, "end": len(text)},
                "fields": {"text": [text]},
            }  # fmt: skip
            total = {"value": 1, "relation": "eq"}
            inner = {"hits": {"total": total, "max_score": score, "hits": [passage]}}
            hit["inner_hits"] = {**hit.get("inner_hits", {}), INNER_HITS: inner}


def _cut_passages(hits: Sequence[dict[str, Any]], sources: Mapping[str, Any], attachment: Attachment) -> None:
    value = similarity_scale(attachment).of_script
    for hit, text in _with_texts(hits, sources, attachment):
        for passage in hit.get("inner_hits", {}).get(INNER_HITS, {}).get("hits", {}).get("hits", []):
            offsets = passage.get("_source") or {}
            passage["_score"] = value(passage["_score"])
            passage["fields"] = {"text": [text[offsets.get("start", 0) : offsets.get("end", 0)]]}


def _with_texts(
    hits: Sequence[dict[str, Any]], sources: Mapping[str, Any], attachment: Attachment
) -> Iterator[tuple[dict[str, Any], str]]:
    texts = {
        key_of(hit): source_text(hit.get("_source") or {}, attachment.source_fields).text
        for hit in sources["hits"]["hits"]
    }
    for hit in hits:
        yield hit, texts.get(key_of(hit), "")
