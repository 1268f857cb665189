"""From task to vector.

_mget -> source text -> same fingerprint? skip -> passages -> encode -> conditional bulk update
                                                           \\-> fails: bisect -> dead letter
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from elasticsearch import Elasticsearch, NotFoundError
from numpy.typing import NDArray

from esblend.broker import EmbedResult, EmbedTask
from esblend.encoder.encoder import Encoder
from esblend.encoder.registry import Encoders
from esblend.errors import EsblendError
from mappings.attachment import Attachment, Generation, read_attachment
from mappings.source import SourceText, fingerprint, source_text
from workers.dead_letters import DeadLetter, keep, remove
from workers.passages import Passage, split
from workers.patience import patiently
from workers.writes import Write, Written, write_all

log = structlog.get_logger()
EMBEDDED, NO_TEXT, DEAD_LETTER = "embedded", "no_text", "dead_letter"
_GONE, _CONFLICT = 404, 409


@dataclass(frozen=True)
class Document:
    """One document as it was read: its version, its text, what was embedded of it before."""

    id: str
    routing: str | None
    seq_no: int
    primary_term: int
    source: SourceText
    fingerprint: str
    known_fingerprint: str | None
    known_state: str | None


@dataclass(frozen=True)
class Embedded:
    """A document with its passages and their vectors: (len(passages), dims), float32, unit length."""

    document: Document
    passages: list[Passage]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Failed:
    document: Document
    error: str


def embed(task: EmbedTask, es: Elasticsearch, encoders: Encoders) -> EmbedResult:
    """Bring the vectors of the task's documents up to date. Doing it twice, late or out of order is harmless."""
    attachment = read_index_attachment(es, task)
    if attachment is None or task.generation not in attachment.generations:
        return EmbedResult(gone=len(task.documents))
    generation = attachment.generations[task.generation]
    documents = _read(es, task, attachment, generation)
    changed = [document for document in documents if document.known_fingerprint != document.fingerprint]
    encoder = (
        encoders.matching(generation.model.name, generation.model.digest)
        if any(document.source.text.strip() for document in changed)
        else None
    )
    embedded, failed = _encode(changed, generation, encoder)
    writes = [_vector_write(task, attachment, one) for one in embedded]
    results = write_all(es, writes)
    failed += _refused(embedded, results)
    results = [result for result in results if _is_settled(result)]
    results += _bury(es, task, attachment, failed)
    healed = {one.document.id for one in embedded if one.document.known_state == DEAD_LETTER}
    written = {result.write.id: result.seq_no for result in results if result.seq_no is not None}
    remove(es, task.uuid, task.generation, sorted(healed & written.keys()))
    return EmbedResult(
        written=written,
        unchanged=len(documents) - len(changed),
        gone=len(task.documents) - len(documents) + sum(result.status == _GONE for result in results),
        conflicts=sum(result.status == _CONFLICT for result in results),
        dead_letters=len(failed),
    )


def read_index_attachment(es: Elasticsearch, task: EmbedTask) -> Attachment | None:
    """The attachment of the very index the task names; None when the index is gone, made anew, or not attached."""
    try:
        answer = patiently(lambda: es.indices.get(index=task.index, features=["mappings", "settings"]))
    except NotFoundError:
        return None
    body = answer.body.get(task.index)
    if body is None or body["settings"]["index"]["uuid"] != task.uuid:
        return None
    return read_attachment(body["mappings"])


def _read(es: Elasticsearch, task: EmbedTask, attachment: Attachment, generation: Generation) -> list[Document]:
    """The documents that are still there, each once."""
    root = f"{attachment.field}.{task.generation}"
    wanted = {(reference.id, reference.routing) for reference in task.documents}
    items = [
        {"_id": id_, **({"routing": routing} if routing is not None else {})}
        for id_, routing in sorted(wanted, key=str)
    ]
    includes = [*attachment.source_fields, f"{root}.fingerprint", f"{root}.state"]
    answer = patiently(lambda: es.mget(index=task.index, docs=items, source_includes=includes))
    return [_document(found, task, attachment, generation) for found in answer["docs"] if found.get("found")]


def _document(found: dict[str, Any], task: EmbedTask, attachment: Attachment, generation: Generation) -> Document:
    source = found.get("_source") or {}
    text = source_text(source, attachment.source_fields)
    known = (source.get(attachment.field) or {}).get(task.generation) or {}
    return Document(
        id=found["_id"],
        routing=found.get("_routing"),
        seq_no=found["_seq_no"],
        primary_term=found["_primary_term"],
        source=text,
        fingerprint=fingerprint(text.text, attachment.source_fields, generation),
        known_fingerprint=known.get("fingerprint"),
        known_state=known.get("state"),
    )


def _encode(
    documents: Sequence[Document], generation: Generation, encoder: Encoder | None
) -> tuple[list[Embedded], list[Failed]]:
    empty = np.empty((0, generation.model.dims), dtype=np.float32)
    if encoder is None:
        return [Embedded(document, [], empty) for document in documents], []
    split_documents: list[tuple[Document, list[Passage]]] = []
    failed: list[Failed] = []
    for document in documents:
        try:
            split_documents.append((document, split(document.source, encoder.tokenizer, generation.passages)))
        except Exception as error:  # the Rust tokenizer raises bare Exception
            failed.append(Failed(document, f"the text cannot be tokenised: {error}"))
    embedded, poisonous = _encode_or_bisect(split_documents, encoder)
    return embedded, failed + poisonous


def _encode_or_bisect(
    documents: Sequence[tuple[Document, list[Passage]]], encoder: Encoder
) -> tuple[list[Embedded], list[Failed]]:
    """Encode all passages at once; when that fails, halve until the poisonous document stands alone."""
    try:
        return _encode_together(documents, encoder), []
    except Exception as error:  # whatever a model or its runtime raises
        if len(documents) == 1:
            encoder.encode_query("esblend")  # raises when the fault is the encoder's and not the document's
            return [], [Failed(documents[0][0], describe(error))]
        log.warning("a batch failed, halving it", documents=len(documents), cause=type(error).__name__)
    middle = len(documents) // 2
    embedded, failed = _encode_or_bisect(documents[:middle], encoder)
    more_embedded, more_failed = _encode_or_bisect(documents[middle:], encoder)
    return embedded + more_embedded, failed + more_failed


def _encode_together(documents: Sequence[tuple[Document, list[Passage]]], encoder: Encoder) -> list[Embedded]:
    vectors = encoder.encode_documents([passage.text for _, passages in documents for passage in passages])
    embedded, first = [], 0
    for document, passages in documents:
        embedded.append(Embedded(document, passages, vectors[first : first + len(passages)]))
        first += len(passages)
    return embedded


def describe(error: Exception) -> str:
    """What went wrong, without the document's text."""
    return error.reason if isinstance(error, EsblendError) else f"{type(error).__name__} in the encoder"


def _vector_write(task: EmbedTask, attachment: Attachment, one: Embedded) -> Write:
    state = EMBEDDED if one.passages else NO_TEXT
    passages = [
        {"vector": vector, "start": passage.start, "end": passage.end}
        for passage, vector in zip(one.passages, one.vectors, strict=True)
    ]
    return _write(task, attachment, one.document, state, passages)


def _write(
    task: EmbedTask, attachment: Attachment, document: Document, state: str, passages: list[dict[str, Any]]
) -> Write:
    values = {"fingerprint": document.fingerprint, "state": state, "passages": passages}
    return Write(
        task.index, document.id, document.routing, document.seq_no, document.primary_term,
        {attachment.field: {task.generation: values}},
    )  # fmt: skip


def _is_settled(result: Written) -> bool:
    return result.status < 400 or result.status in (_GONE, _CONFLICT)


def _refused(embedded: Sequence[Embedded], results: Sequence[Written]) -> list[Failed]:
    """Documents whose write Elasticsearch refused for their own sake (too many nested objects, say)."""
    by_id = {one.document.id: one.document for one in embedded}
    return [Failed(by_id[result.write.id], result.reason) for result in results if not _is_settled(result)]


def _bury(es: Elasticsearch, task: EmbedTask, attachment: Attachment, failed: Sequence[Failed]) -> list[Written]:
    """Make dead letters of the failed documents, and take their old vectors away: they describe another text."""
    if not failed:
        return []
    for one in failed:
        log.error("dead letter", index=task.index, id=one.document.id, error=one.error)
    keep(es, [DeadLetter(task.index, task.uuid, task.generation, one.document.id, one.error) for one in failed])
    return write_all(es, [_write(task, attachment, one.document, DEAD_LETTER, []) for one in failed])
