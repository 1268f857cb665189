"""Verifies an attached index: reads every document, and compares what it holds with what it should hold.

documents (point in time, shard by shard) -> fingerprints -> findings
          \\-> a sample -> encoder -> vectors compared
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch, NotFoundError
from numpy.typing import NDArray

from esblend.broker import DocumentRef
from esblend.encoder.encoder import Encoder
from mappings.attachment import DEAD_LETTER, DROPPED, EMBEDDED, NO_TEXT, Attachment
from mappings.dead_letter_index import DEAD_LETTERS_INDEX
from mappings.passages import split
from mappings.source import fingerprint, kept, source_text, stored_passages, stored_vectors

_PAGE = 200
_UNIT = 1e-3
"""How far from 1 a vector's length may be: Elasticsearch itself allows 1e-4 in the square when it is written."""
SAME_VECTOR = 0.985
"""Smallest cosine to the vector computed again: `fast` and `exact` differ by less, vectors of other texts by far more."""

FAULTS = {
    "missing": "no vectors yet",
    "stale": "vectors of another text, model or passage setting",
    "wrong_passages": "passages that do not cover the text",
    "wrong_dimension": "vectors of another width than the model's",
    "not_unit_length": "vectors whose length is not 1",
    "wrong_vector": "a vector that is not the text's (seen by computing it again)",
    "orphaned": "vectors of a generation that the attachment does not have",
}


@dataclass(frozen=True)
class Finding:
    fault: str
    document: DocumentRef


@dataclass
class Report:
    """What a verification found. `is_clean`: nothing at fault; dead letters and dropped documents are told, not faults."""

    index: str
    documents: int = 0
    embedded: int = 0
    without_text: int = 0
    dead_letters: int = 0
    dropped: int = 0
    recomputed: int = 0
    orphaned_letters: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.findings and not self.orphaned_letters

    def to_json(self) -> dict[str, Any]:
        counts = Counter(finding.fault for finding in self.findings)
        return {
            "index": self.index,
            "clean": self.is_clean,
            **{
                name: getattr(self, name)
                for name in ("documents", "embedded", "without_text", "dead_letters", "dropped", "recomputed")
            },
            "faults": {name: counts.get(name, 0) for name in FAULTS} | {"orphaned_letters": self.orphaned_letters},
            "examples": {name: [f.document.id for f in self.findings if f.fault == name][:5] for name in counts},
        }


@dataclass(frozen=True)
class Held:
    """One document as read: where it is, its whole source."""

    document: DocumentRef
    source: dict[str, Any]


def read_all(es: Elasticsearch, index: str, *, keeps_vectors_back: bool) -> Iterator[Held]:
    """Every document of the index as it stood at the beginning, vectors included."""
    keep_alive = "5m"
    pit = es.open_point_in_time(index=index, keep_alive=keep_alive)["id"]
    source: Any = {"exclude_vectors": False} if keeps_vectors_back else True
    after: list[Any] | None = None
    try:
        while True:
            body: dict[str, Any] = {
                "size": _PAGE, "pit": {"id": pit, "keep_alive": keep_alive}, "sort": [{"_shard_doc": "asc"}], "_source": source,
                "seq_no_primary_term": True, "track_total_hits": False, "query": {"match_all": {}},
            }  # fmt: skip
            if after is not None:
                body["search_after"] = after
            answer = es.search(body=body)
            pit = answer["pit_id"]
            hits = answer["hits"]["hits"]
            for hit in hits:
                reference = DocumentRef(id=hit["_id"], seq_no=hit["_seq_no"], routing=hit.get("_routing"))
                yield Held(reference, hit["_source"])
            if len(hits) < _PAGE:
                return
            after = hits[-1]["sort"]
    finally:
        es.close_point_in_time(id=pit)


def examine(held: Held, attachment: Attachment, report: Report) -> bool:
    """Count one document, and note what is wrong with it. True when it is embedded and nothing is."""
    generation, name = attachment.generation, attachment.active
    ours = kept(held.source, attachment.field, name)
    report.documents += 1
    if any(kept(held.source, attachment.field, other) for other in _others(held.source, attachment)):
        report.findings.append(Finding("orphaned", held.document))
    fault: str | None
    if ours.get("fingerprint") is None:
        fault = "missing"
    elif ours["fingerprint"] != fingerprint(held.source, attachment.source_fields, generation):
        fault = "stale"
    else:
        state = ours.get("state")
        report.embedded += state == EMBEDDED
        report.without_text += state == NO_TEXT
        report.dead_letters += state == DEAD_LETTER
        report.dropped += state == DROPPED
        fault = _fault_of_passages(held, attachment, ours)
    if fault is not None:
        report.findings.append(Finding(fault, held.document))
    return fault is None and ours.get("state") == EMBEDDED


def _others(source: dict[str, Any], attachment: Attachment) -> list[str]:
    ours = source.get(attachment.field)
    return [key for key in ours if key not in attachment.generations] if isinstance(ours, dict) else []


def _fault_of_passages(held: Held, attachment: Attachment, ours: Any) -> str | None:
    text = source_text(held.source, attachment.source_fields).text
    vectors = stored_vectors(held.source, attachment)
    if ours.get("state") != EMBEDDED:
        wrongly_empty = ours.get("state") == NO_TEXT and text.strip()
        return "wrong_passages" if vectors or wrongly_empty else None
    if not vectors:
        return "missing"
    if attachment.is_nested and attachment.generation.adopted is None and not _cover(stored_passages(ours), text):
        return "wrong_passages"
    if any(len(vector) != attachment.generation.model.dims for vector in vectors):
        return "wrong_dimension"
    if not attachment.generation.form.unit:
        return None
    lengths = np.linalg.norm(np.array(vectors, dtype=np.float64), axis=1)
    return "not_unit_length" if np.abs(lengths - 1).max() > _UNIT else None


def _cover(passages: Sequence[Mapping[str, Any]], text: str) -> bool:
    """Whether passages follow each other over all of a text, without a gap but for the white space between two fields."""
    end = 0
    for passage in passages:
        if text[end : passage["start"]].strip() or passage["end"] <= end:
            return False
        end = passage["end"]
    return not text[end:].strip()


def compare(sample: list[Held], encoder: Encoder, attachment: Attachment, report: Report) -> None:
    """Compute the vectors of a sample again, and note those that are not the text's."""
    for held in sample:
        text = source_text(held.source, attachment.source_fields)
        passages = split(text, encoder.tokenizer, attachment.generation.passages)
        expected = encoder.encode_documents([passage.text for passage in passages], attachment.generation.form)
        found = np.array(stored_vectors(held.source, attachment), dtype=np.float32)
        report.recomputed += 1
        if found.shape != expected.shape or _cosines(found, expected).min() < SAME_VECTOR:
            report.findings.append(Finding("wrong_vector", held.document))


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines: NDArray[np.float32] = (one * other).sum(axis=1) / lengths
    return cosines


def count_orphaned_letters(es: Elasticsearch, index: str, uuid: str) -> list[str]:
    """Ids of dead letters of this index whose document is gone, or whose index was made anew."""
    try:
        hits = es.search(index=DEAD_LETTERS_INDEX, query={"term": {"index": index}}, size=10_000)["hits"]["hits"]
    except NotFoundError:
        return []
    orphans = [hit["_id"] for hit in hits if hit["_source"]["uuid"] != uuid]
    present = [hit for hit in hits if hit["_source"]["uuid"] == uuid]
    for start in range(0, len(present), _PAGE):
        part = present[start : start + _PAGE]
        items = [
            {"_id": hit["_source"]["id"], **({"routing": r} if (r := hit["_source"].get("routing")) else {})}
            for hit in part
        ]
        answer = es.mget(index=index, docs=items, source=False)
        orphans += [hit["_id"] for hit, found in zip(part, answer["docs"], strict=True) if not found.get("found")]
    return orphans
