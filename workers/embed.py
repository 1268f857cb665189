"""From task to vector.

_mget -> same fingerprint? skip -> passages -> encode -> conditional bulk
                                        \\-> fails -> dead letter

A task is worked on in portions: while one is encoded, the next is read and the one before is written.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ParamSpec, TypeVar

import numpy as np
import structlog
from elasticsearch import Elasticsearch
from redis import Redis

from esblend.broker import DocumentRef, EmbedResult, EmbedTask
from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from esblend.encoder.registry import Encoders
from esblend.encoder.vector_cache import VectorCache
from esblend.logs import without_preview
from esblend.tracing import span
from mappings.attachment import DEAD_LETTER, DROPPED, NO_TEXT
from mappings.dead_letter_index import DeadLetter
from workers.attempts import Attempts
from workers.dead_letter_writes import has_any, remove, store_dead_letters
from workers.documents import Document, Target, find_target, read_documents
from workers.encoding import Embedded, Encode, Encoding, Failed, Vectors
from workers.writes import Write, Written, conditional_write, write_all

log = structlog.get_logger()
PORTIONS = 8
Tell = Callable[[dict[str, int]], None]
SMALLEST_PORTION = 32
"""Documents; fewer would leave the encoder short of texts to sort by length."""


@dataclass(frozen=True)
class Portion:
    """Some documents of a task, as they were read, and when (monotonic seconds)."""

    asked_for: list[str]
    documents: list[Document]
    read_at: float
    may_have_letters: bool


@dataclass
class WorkerContext:
    """What a worker process has to work with."""

    es: Elasticsearch
    redis: Redis
    encoders: Encoders
    cache_for: Callable[[Encoder, Form], VectorCache | None]
    _encode: dict[tuple[str, Form], Encode] = field(default_factory=dict)

    def on_behalf_of(self, request_id: str) -> "WorkerContext":
        """The same; Elasticsearch finds the requests of a task by this id in its slow log and its list of tasks."""
        return replace(self, es=self.es.options(opaque_id=request_id))

    def encode(self, encoder: Encoder, form: Form) -> Encode:
        """The encoder's `encode_documents`, with the cache of vectors before it if there is one."""
        place = (encoder.digest, form)
        if place not in self._encode:
            cache = self.cache_for(encoder, form)

            def compute(texts: list[str]) -> Vectors:
                return encoder.encode_documents(texts, form)

            self._encode[place] = (lambda texts: cache.through(texts, compute)) if cache else compute
        return self._encode[place]


def embed(task: EmbedTask, workshop: WorkerContext, tell: Tell = lambda _: None) -> EmbedResult:
    """Bring the vectors of the task's documents up to date. Doing it twice, late or out of order is harmless.

    `tell` is told the sequence numbers of what was written, by document id, as soon as it was.
    """
    began = time.monotonic()
    target = find_target(workshop.es, task)
    if target is None:
        return EmbedResult(gone=len(task.documents))
    total = EmbedResult()
    may_have_letters = has_any(workshop.es, target.uuid, target.name)
    work = _drop if task.action == "drop" else _encode

    def read(references: Sequence[DocumentRef]) -> Portion:
        read_at = time.monotonic()
        documents = read_documents(workshop.es, target, references)
        return Portion([one.id for one in references], documents, read_at, may_have_letters)

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        waiting = _portions(task.documents)
        coming = _submit(reader, read, waiting.pop(0))
        writing: Future[EmbedResult] | None = None
        while True:
            portion = coming.result()
            is_last = not waiting
            if not is_last:
                coming = _submit(reader, read, waiting.pop(0))
            embedded, failed = work(_to_do(task, portion), target, workshop)
            if writing is not None:
                total = total.plus(writing.result())
            writing = _submit(writer, _write, workshop.es, target, portion, embedded, failed, tell)
            if is_last:
                break
        total = total.plus(writing.result())
    return total.model_copy(update={"seconds": time.monotonic() - began})


P = ParamSpec("P")
R = TypeVar("R")


def _submit(pool: ThreadPoolExecutor, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> Future[R]:
    """Within the present context: the task's id in logs, and its trace."""
    return pool.submit(copy_context().run, partial(call, *arguments, **named))


def _portions(documents: list[DocumentRef]) -> list[list[DocumentRef]]:
    size = max(SMALLEST_PORTION, -(-len(documents) // PORTIONS))
    return [documents[start : start + size] for start in range(0, len(documents), size)]


def _to_do(task: EmbedTask, portion: Portion) -> list[Document]:
    if task.action != "embed":
        return portion.documents
    return [document for document in portion.documents if document.known_fingerprint != document.fingerprint]


def _drop(documents: Sequence[Document], target: Target, _: WorkerContext) -> tuple[list[Embedded], list[Failed]]:
    return [_without_vectors(target, document, DROPPED) for document in documents], []


def _encode(
    documents: Sequence[Document], target: Target, workshop: WorkerContext
) -> tuple[list[Embedded], list[Failed]]:
    model = target.generation.model
    embedded = [_without_vectors(target, one, NO_TEXT) for one in documents if not one.source.text.strip()]
    with_text = [document for document in documents if document.source.text.strip()]
    if not with_text:
        return embedded, []
    encoder = workshop.encoders.matching(model.name, model.digest)
    attempts = Attempts(workshop.redis, f"{target.uuid}-{target.name}")
    encode = workshop.encode(encoder, target.generation.form)
    with span("encode", {"documents": len(with_text), "model": model.name}):
        more, failed = Encoding(target, encoder, encode, attempts).run(with_text)
    return embedded + more, failed


def _write(
    es: Elasticsearch,
    target: Target,
    portion: Portion,
    embedded: Sequence[Embedded],
    failed: Sequence[Failed],
    tell: Tell,
) -> EmbedResult:
    results = write_all(es, [_vector_write(target, one) for one in embedded], read_at=portion.read_at)
    refused = [Failed(result.write.document, result.reason) for result in results if result.is_refused]
    results = [result for result in results if not result.is_refused]
    results += _bury(es, target, portion, [*failed, *refused])
    written = {result.write.document.id: result.seq_no for result in results if result.seq_no is not None}
    tell(written)
    gone = set(portion.asked_for) - {document.id for document in portion.documents}
    if portion.may_have_letters:
        still_dead = {one.document.id for one in [*failed, *refused]}
        remove(es, target.uuid, target.name, sorted((written.keys() | gone) - still_dead))
    return EmbedResult(
        written=len(written),
        unchanged=len(portion.documents) - len(embedded) - len(failed),
        gone=len(gone) + sum(result.is_gone for result in results),
        conflicts=sum(result.is_conflict for result in results),
        dead_letters=len(failed) + len(refused),
    )


def _vector_write(target: Target, one: Embedded) -> Write:
    """What the document is to hold: nested passages, or its one vector; null takes away one of before."""
    ours: dict[str, Any] = {"fingerprint": one.document.fingerprint, "state": one.state}
    adopted = target.generation.adopted
    only = one.vectors[0] if len(one.vectors) else None
    if adopted is not None:
        return conditional_write(target, one.document, ours, {adopted.field: only})
    if target.generation.vector.layout == "flat":
        return conditional_write(target, one.document, {**ours, "vector": only})
    passages = [
        {"vector": vector, "start": passage.start, "end": passage.end}
        | ({} if passage.field is None else {"field": passage.field})
        for passage, vector in zip(one.passages, one.vectors, strict=True)
    ]
    return conditional_write(target, one.document, {**ours, "passages": passages})


def _without_vectors(target: Target, document: Document, state: str) -> Embedded:
    return Embedded(document, [], np.empty((0, target.generation.model.dims), dtype=np.float32), state)


def _bury(es: Elasticsearch, target: Target, portion: Portion, failed: Sequence[Failed]) -> list[Written]:
    """Make dead letters of the failed documents, and take their old vectors away: they describe another text."""
    if not failed:
        return []
    for one in failed:
        log.error("dead letter", index=target.index, id=one.document.id, error=without_preview(one.error))
    store_dead_letters(es, [_letter(target, one) for one in failed])
    writes = [_vector_write(target, _without_vectors(target, one.document, DEAD_LETTER)) for one in failed]
    results = write_all(es, writes, read_at=portion.read_at)
    # A document that was changed or deleted meanwhile needs no letter: the feed brings its new text.
    overtaken = [result.write.document.id for result in results if result.is_conflict or result.is_gone]
    remove(es, target.uuid, target.name, overtaken)
    return [result for result in results if not result.is_refused]


def _letter(target: Target, one: Failed) -> DeadLetter:
    return DeadLetter(
        index=target.index,
        uuid=target.uuid,
        generation=target.name,
        id=one.document.id,
        routing=one.document.routing,
        error=one.error,
        attempts=one.attempts,
    )
