"""Verifies an attached index: reads every document and checks its vectors.

documents (point in time) -> fingerprint, vectors, offsets -> findings
          \\-> a sample -> encoder -> vectors compared
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch, NotFoundError
from elasticsearch.helpers import scan
from numpy.typing import NDArray

from esblend.broker import DocumentRef
from esblend.encoder.encoder import Encoder
from esblend.multi_get import exists
from mappings.attachment import ADOPTED, DEAD_LETTER, DROPPED, EMBEDDED, NO_TEXT, Attachment
from mappings.dead_letter_index import DEAD_LETTERS_INDEX
from mappings.index_state import page_size
from mappings.passages import split
from mappings.source import fingerprint, generation_object, source_text, stored_passages, stored_vectors

_PAGE = 200
_UNIT = 1e-3
"""The tolerance of a unit vector's length; Elasticsearch itself allows 1e-4 in the square at index time."""
SAME_VECTOR = 0.985
"""The smallest cosine to the recomputed vector. `fast` and `exact` differ by less, vectors of other texts by far more."""

FAULTS = {
    "missing": "no vectors",
    "stale": "vectors of another text, model or passage setting",
    "wrong_passages": "passages that do not cover the text",
    "wrong_dimension": "vectors of another width than the model's",
    "not_unit_length": "vectors whose length is not 1",
    "wrong_vector": "a vector that differs from the recomputed one",
    "unlisted": "marked as dead letters, without a letter that says why",
    "orphaned": "vectors of dropped generations or earlier attachments",
}


@dataclass(frozen=True)
class Finding:
    fault: str
    document: DocumentRef


@dataclass
class Report:
    """The result of a verification. Dead letters and dropped documents are counted, but are not faults."""

    index: str
    documents: int = 0
    embedded: int = 0
    adopted: int = 0
    """Documents whose vector another application wrote."""
    without_text: int = 0
    dead_letters: int = 0
    dropped: int = 0
    recomputed: int = 0
    orphaned_letters: int = 0
    findings: list[Finding] = field(default_factory=list)
    with_letters: set[tuple[str, str | None]] = field(default_factory=set)
    """Documents with dead letters, by id and routing; Elasticsearch may reject the mark in the document."""

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
                for name in (
                    "documents",
                    "embedded",
                    "adopted",
                    "without_text",
                    "dead_letters",
                    "dropped",
                    "recomputed",
                )
            },
            "faults": {name: counts.get(name, 0) for name in FAULTS} | {"orphaned_letters": self.orphaned_letters},
            "examples": {name: [f.document.id for f in self.findings if f.fault == name][:5] for name in counts},
        }


@dataclass(frozen=True)
class StoredDocument:
    """A document with its complete source."""

    document: DocumentRef
    source: dict[str, Any]


def read_all(es: Elasticsearch, index: str, *, keeps_vectors_back: bool) -> Iterator[StoredDocument]:
    """Every document of the index with its vectors, at one point in time. Raises IndexClosed."""
    keep_alive = "5m"
    page = page_size(es, index, _PAGE)
    pit = es.open_point_in_time(index=index, keep_alive=keep_alive)["id"]
    source: Any = {"exclude_vectors": False} if keeps_vectors_back else True
    after: list[Any] | None = None
    try:
        while True:
            body: dict[str, Any] = {
                "size": page, "pit": {"id": pit, "keep_alive": keep_alive}, "sort": [{"_shard_doc": "asc"}], "_source": source,
                "seq_no_primary_term": True, "track_total_hits": False, "query": {"match_all": {}},
            }  # fmt: skip
            if after is not None:
                body["search_after"] = after
            response = es.search(body=body)
            pit = response["pit_id"]
            hits = response["hits"]["hits"]
            for hit in hits:
                reference = DocumentRef(id=hit["_id"], seq_no=hit["_seq_no"], routing=hit.get("_routing"))
                yield StoredDocument(reference, hit["_source"])
            if len(hits) < page:
                return
            after = hits[-1]["sort"]
    finally:
        es.close_point_in_time(id=pit)


def examine(held: StoredDocument, attachment: Attachment, report: Report) -> bool:
    """Add a document to the report. True when esblend embedded it and nothing is wrong."""
    generation, name = attachment.generation, attachment.active
    stored = generation_object(held.source, attachment.field, name)
    report.documents += 1
    if orphaned_generations(held.source, attachment):
        report.findings.append(Finding("orphaned", held.document))
    is_current = stored.get("fingerprint") == fingerprint(held.source, attachment.source_fields, generation)
    if not is_current and (held.document.id, held.document.routing) in report.with_letters:
        report.dead_letters += 1
        return False
    fault: str | None
    if stored.get("fingerprint") is None:
        fault = "missing"
    elif not is_current:
        fault = "stale"
    else:
        state = stored.get("state")
        report.embedded += state == EMBEDDED
        report.adopted += state == ADOPTED
        report.without_text += state == NO_TEXT
        report.dead_letters += state == DEAD_LETTER
        report.dropped += state == DROPPED
        fault = _fault_of_vectors(held, attachment, stored)
        if state == DEAD_LETTER and (held.document.id, held.document.routing) not in report.with_letters:
            fault = fault or "unlisted"
    if fault is not None:
        report.findings.append(Finding(fault, held.document))
    return fault is None and stored.get("state") == EMBEDDED


def orphaned_generations(source: dict[str, Any], attachment: Attachment) -> list[str]:
    """Names of generations in a document that the attachment does not have."""
    stored = source.get(attachment.field)
    return [key for key in stored if key not in attachment.generations] if isinstance(stored, dict) else []


def _fault_of_vectors(held: StoredDocument, attachment: Attachment, stored: Mapping[str, Any]) -> str | None:
    text = source_text(held.source, attachment.source_fields)
    vectors = stored_vectors(held.source, attachment)
    is_adopted = attachment.generation.adopted is not None
    if stored.get("state") == ADOPTED:
        return None if vectors else "missing"
    if stored.get("state") != EMBEDDED:
        return "wrong_passages" if vectors and not is_adopted else None
    passages = stored_passages(stored)
    if not vectors or (attachment.is_nested and not is_adopted and len(vectors) != len(passages)):
        return "missing"
    if attachment.is_nested and not is_adopted and not _cover(passages, text.text):
        return "wrong_passages"
    if any(len(vector) != attachment.generation.model.dims for vector in vectors):
        return "wrong_dimension"
    if not attachment.generation.form.unit:
        return None
    lengths = np.linalg.norm(np.array(vectors, dtype=np.float64), axis=1)
    return "not_unit_length" if np.abs(lengths - 1).max() > _UNIT else None


def _cover(passages: Sequence[Mapping[str, Any]], text: str) -> bool:
    """Whether the passages cover a text in order, with gaps of white space only."""
    end = 0
    for passage in passages:
        if text[end : passage["start"]].strip() or passage["end"] <= end:
            return False
        end = passage["end"]
    return not text[end:].strip()


def compare(sample: list[StoredDocument], encoder: Encoder, attachment: Attachment, report: Report) -> None:
    """Compute the vectors of a sample again, and report those that differ."""
    for held in sample:
        text = source_text(held.source, attachment.source_fields)
        passages = split(text, encoder.tokenizer, attachment.generation.passages)
        expected = encoder.encode_documents([passage.text for passage in passages], attachment.generation.form)
        stored = np.array(stored_vectors(held.source, attachment), dtype=np.float32)
        report.recomputed += 1
        if stored.shape != expected.shape or _cosines(stored, expected).min() < SAME_VECTOR:
            report.findings.append(Finding("wrong_vector", held.document))


def _cosines(stored: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(expected, axis=1)
    cosines: NDArray[np.float32] = (stored * expected).sum(axis=1) / lengths
    return cosines


@dataclass(frozen=True)
class Letters:
    """The dead letters of an index: documents that exist, by id and routing, and ids of letters without a document."""

    documents: set[tuple[str, str | None]]
    orphans: list[str]


def read_letters(es: Elasticsearch, index: str, uuid: str) -> Letters:
    """A letter is an orphan when its document is gone or its index was recreated."""
    try:
        hits = list(scan(es, index=DEAD_LETTERS_INDEX, query={"query": {"term": {"index": index}}}))
    except NotFoundError:
        return Letters(set(), [])
    orphans = [hit["_id"] for hit in hits if hit["_source"]["uuid"] != uuid]
    present = [hit for hit in hits if hit["_source"]["uuid"] == uuid]
    documents: set[tuple[str, str | None]] = set()
    for start in range(0, len(present), _PAGE):
        part = present[start : start + _PAGE]
        items = [
            {"_id": hit["_source"]["id"], **({"routing": r} if (r := hit["_source"].get("routing")) else {})}
            for hit in part
        ]
        response = es.mget(index=index, docs=items, source=False)
        for hit, item in zip(part, response["docs"], strict=True):
            if exists(item, index):
                documents.add((hit["_source"]["id"], hit["_source"].get("routing")))
            else:
                orphans.append(hit["_id"])
    return Letters(documents, orphans)
