"""Writes the results of a portion: vectors, states, dead letters.

embedded -> conditional bulk -> written | conflict (a newer version exists) | gone | rejected -> dead letter
failed   -> dead letter -> conditional bulk that marks the document
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from elasticsearch import Elasticsearch

from esblend.broker import EmbedResult
from esblend.logs import without_preview
from mappings.attachment import ADOPTED, DEAD_LETTER
from mappings.dead_letter_index import DeadLetter
from workers.dead_letter_writes import delete_letters, find_letters, store_dead_letters
from workers.documents import Document, Target
from workers.encoding import Embedded, Failed
from workers.writes import Write, Written, conditional_write, write_all

log = structlog.get_logger()
Report = Callable[[dict[str, int]], None]
Key = tuple[str, str | None]


@dataclass(frozen=True)
class Portion:
    """Some documents of a task as they were read at `read_at` (monotonic seconds)."""

    requested: list[Key]
    """Ids with routing."""
    documents: list[Document]
    read_at: float
    may_have_letters: bool


def write_portion(
    es: Elasticsearch,
    target: Target,
    portion: Portion,
    embedded: Sequence[Embedded],
    failed: Sequence[Failed],
    report: Report,
) -> EmbedResult:
    """Write the results of a portion. `report` gets the sequence numbers of the new versions by document id."""
    results = write_all(es, [_vector_write(target, result) for result in embedded], read_at=portion.read_at)
    rejected = [Failed(result.write.document, result.reason) for result in results if result.is_rejected]
    failures = [*failed, *rejected]
    results = [result for result in results if not result.is_rejected]
    results += _write_dead_letters(es, target, portion, failures)
    written = [result for result in results if result.seq_no is not None]
    report({result.write.document.id: result.seq_no for result in written if result.seq_no is not None})
    gone = set(portion.requested) - {_key(document) for document in portion.documents}
    if portion.may_have_letters:
        resolved = {_key(result.write.document) for result in written} | gone
        resolved -= {_key(failure.document) for failure in failures}
        delete_letters(es, target.uuid, target.name, find_letters(es, target.uuid, target.name, resolved))
    return EmbedResult(
        written=len(written),
        unchanged=len(portion.documents) - len(embedded) - len(failed),
        gone=len(gone) + sum(result.is_gone for result in results),
        conflicts=sum(result.is_conflict for result in results),
        dead_letters=len(failures),
    )


def without_vectors(target: Target, document: Document, state: str) -> Embedded:
    """The result for a document that gets a state and no vectors. An adopted vector of another application remains."""
    if target.generation.adopted is not None and document.keeps_foreign_vector and state != DEAD_LETTER:
        state = ADOPTED
    return Embedded(document, [], np.empty((0, target.generation.model.dims), dtype=np.float32), state)


def _vector_write(target: Target, result: Embedded) -> Write:
    """The write of nested passages, of one flat vector, or of an adopted vector; null removes a flat vector."""
    document = result.document
    values: dict[str, Any] = {"fingerprint": document.fingerprint, "state": result.state}
    vector = result.vectors[0] if len(result.vectors) else None
    adopted = target.generation.adopted
    if adopted is not None:
        is_removed = vector is None and document.vectors and not document.keeps_foreign_vector
        return conditional_write(
            target, document, values, {adopted.field: vector} if vector is not None or is_removed else None
        )
    if target.generation.vector.layout == "flat":
        return conditional_write(target, document, {**values, "vector": vector})
    passages = [
        {"vector": vector, "start": passage.start, "end": passage.end}
        | ({} if passage.field is None else {"field": passage.field})
        for passage, vector in zip(result.passages, result.vectors, strict=True)
    ]
    return conditional_write(target, document, {**values, "passages": passages})


def _write_dead_letters(
    es: Elasticsearch, target: Target, portion: Portion, failures: Sequence[Failed]
) -> list[Written]:
    """Store the failed documents as dead letters and remove their old vectors, which describe another text."""
    if not failures:
        return []
    for failure in failures:
        log.error("dead letter", index=target.index, id=failure.document.id, error=without_preview(failure.error))
    store_dead_letters(es, [_letter(target, failure) for failure in failures])
    marks = [_vector_write(target, without_vectors(target, failure.document, DEAD_LETTER)) for failure in failures]
    results = write_all(es, marks, read_at=portion.read_at)
    # The feed delivers the new text of a document that changed in the meantime; its letter is obsolete.
    obsolete = [_key(result.write.document) for result in results if result.is_conflict or result.is_gone]
    delete_letters(es, target.uuid, target.name, obsolete)
    # Elasticsearch may reject the mark as well (dynamic: strict). The letter alone then counts as the document's state.
    return [result for result in results if not result.is_rejected]


def _letter(target: Target, failure: Failed) -> DeadLetter:
    return DeadLetter(
        index=target.index,
        uuid=target.uuid,
        generation=target.name,
        id=failure.document.id,
        routing=failure.document.routing,
        error=failure.error,
        attempts=failure.attempts,
    )


def _key(document: Document) -> Key:
    return document.id, document.routing
