"""From task to vector.

read -> vectors exist for this text? skip -> passages -> encode -> conditional bulk
                                                  \\-> fails -> dead letter

A task is processed in portions: while one is encoded, the next is read and the previous one is written. A backfill's task ends
after a portion when live changes wait; the feed sends the rest again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ParamSpec, TypeVar

from elasticsearch import Elasticsearch
from redis import Redis
from redis.exceptions import RedisError

from esblend.broker import Action, EmbedResult, EmbedTask, Lane, RangeTask, queue_name
from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from esblend.encoder.registry import Encoders
from esblend.encoder.vector_cache import VectorCache
from esblend.metrics import WORKER_SECONDS, timed_total
from esblend.tracing import span
from mappings.attachment import DROPPED, NO_TEXT
from workers.attempts import Attempts
from workers.dead_letter_writes import find_letters, has_letters
from workers.documents import Document, DocumentKey, Target, find_target, read_documents
from workers.encoding import Embedded, Encode, Encoding, Failed, Vectors
from workers.portion_writes import Portion, Report, write_portion
from workers.portions import PortionSize, cut
from workers.range_reading import RangeReader
from workers.retries import retry_limit
from workers.vector_writes import without_vectors

PORTIONS = 8
SMALLEST_PORTION = 32
"""Documents read together; fewer are too few texts to sort by length."""
_REFRESH_SECONDS = 1.0
_FEW_CHANGES = 100
"""Somebody may wait for a few changes. After a rewrite of a whole index, refreshes by many workers would only burden it."""


@dataclass
class WorkerContext:
    """The connections and encoders of a worker process."""

    es: Elasticsearch
    redis: Redis
    encoders: Encoders
    cache_for: Callable[[Encoder, Form], VectorCache | None]
    is_queue_in_redis: bool = True
    size: PortionSize = field(default_factory=PortionSize)
    _refreshed_at: dict[str, float] = field(default_factory=dict)
    """When this process last refreshed an index, by its uuid (monotonic seconds)."""
    _encode: dict[tuple[str, Form], Encode] = field(default_factory=dict)

    def on_behalf_of(self, request_id: str) -> "WorkerContext":
        """A copy whose requests carry this id in Elasticsearch's slow log and task list."""
        return replace(self, es=self.es.options(opaque_id=request_id))

    def has_waiting_live_task(self) -> bool:
        """Whether a live task is in the queue. RabbitMQ is not asked."""
        with suppress(RedisError):
            return self.is_queue_in_redis and int(self.redis.llen(queue_name("live"))) > 0
        return False

    def may_refresh(self, target: Target) -> bool:
        """Whether a live write may make itself visible: once a second, and not where the user wants fewer refreshes."""
        now = time.monotonic()
        if not target.refreshes_each_second or now - self._refreshed_at.get(target.uuid, 0.0) < _REFRESH_SECONDS:
            return False
        self._refreshed_at[target.uuid] = now
        return True

    def encode(self, encoder: Encoder, form: Form) -> Encode:
        """The encoder's `encode_documents`, behind the embedding cache if there is one."""
        key = (encoder.digest, form)
        if key not in self._encode:
            cache = self.cache_for(encoder, form)

            def compute(texts: list[str]) -> Vectors:
                return encoder.encode_documents(texts, form)

            self._encode[key] = (lambda texts: cache.through(texts, compute)) if cache else compute
        return self._encode[key]


def embed(
    task: EmbedTask | RangeTask, context: WorkerContext, report: Report = lambda _: None, lane: Lane | None = None
) -> EmbedResult:
    """Bring the vectors of the task's documents up to date. Repeated, late and reordered tasks are harmless.

    After each portion, `report` gets the sequence numbers of the written documents by id. `lane`: where the task was queued. A
    range of the backfill ends early for a live task, after at least one portion; a live task of a few changes makes its vectors
    visible at once, unless more live tasks wait.
    """
    began = time.monotonic()
    with retry_limit(), timed_total(WORKER_SECONDS.labels("task")):
        target = find_target(context.es, task)
        if target is None:
            return (
                EmbedResult(gone=len(task.documents)) if isinstance(task, EmbedTask) else EmbedResult(until=task.until)
            )
        if lane == "live":
            context.size.note_live()
        may_have_letters = has_letters(context.es, target.uuid, target.name)
        if isinstance(task, EmbedTask):
            portions = _portions_by_id(task, target, context, may_have_letters)
            result = _embed_portions(task.action, portions, target, context, report, lane=None)
        else:
            portions = _portions_of_range(task, target, context, may_have_letters)
            refreshes = (
                lane == "live" and task.until - task.after <= _FEW_CHANGES and not context.has_waiting_live_task()
            )
            result = _embed_portions("embed", portions, target, context, report, lane, refreshes=refreshes)
    return result.model_copy(update={"seconds": time.monotonic() - began})


def _embed_portions(
    action: Action,
    portions: Iterator[Portion],
    target: Target,
    context: WorkerContext,
    report: Report,
    lane: Lane | None,
    *,
    refreshes: bool = False,
) -> EmbedResult:
    """Read, encode and write overlap: one thread reads, one writes, this one encodes."""
    total, until = EmbedResult(), None
    work = _drop if action == "drop" else _encode
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        reading = _submit(reader, next, portions, None)
        writing: Future[EmbedResult] | None = None
        while (portion := _wait("wait for reading", reading)) is not None:
            reading = _submit(reader, next, portions, None)
            with timed_total(WORKER_SECONDS.labels("encode")):
                embedded, failed = work(_to_process(action, target, portion), target, context)
            if writing is not None:
                total = total.plus(_wait("wait for writing", writing))
            refresh = refreshes and bool(embedded) and context.may_refresh(target)
            writing = _submit(
                writer, write_portion, context.es, target, portion, embedded, failed, report, refresh=refresh
            )
            until = portion.until
            if lane == "backfill" and context.has_waiting_live_task():
                break  # without the portion that was read ahead
        if writing is not None:
            total = total.plus(_wait("wait for writing", writing))
    return total.model_copy(update={"until": until})


def _portions_by_id(
    task: EmbedTask, target: Target, context: WorkerContext, may_have_letters: bool
) -> Iterator[Portion]:
    size = _portion_size(len(task.documents))
    for start in range(0, len(task.documents), size):
        references = task.documents[start : start + size]
        read_at = time.monotonic()
        documents = read_documents(context.es, target, references)
        requested = list(dict.fromkeys((reference.id, reference.routing) for reference in references))
        page = _page(context.es, target, requested, documents, read_at, may_have_letters)
        yield from cut(page, context.size.characters(target.generation.model.digest))


def _portions_of_range(
    task: RangeTask, target: Target, context: WorkerContext, may_have_letters: bool
) -> Iterator[Portion]:
    size = _portion_size(min(task.max_documents, task.until - task.after))
    reader = RangeReader(context.es, target, task, size)
    pages = reader.pages()
    while True:
        read_at = time.monotonic()
        page = next(pages, None)
        if page is None:
            return
        whole = _page(context.es, target, page.found, page.documents, read_at, may_have_letters)
        characters = context.size.characters(target.generation.model.digest)
        yield from cut(replace(whole, until=reader.until), characters, page.numbers)


def _page(
    es: Elasticsearch,
    target: Target,
    requested: list[DocumentKey],
    documents: list[Document],
    read_at: float,
    may_have_letters: bool,
) -> Portion:
    marked = {document.key for document in documents if document.is_dead_letter}
    unlisted = marked - find_letters(es, target.uuid, target.name, marked) if may_have_letters else marked
    return Portion(requested, documents, read_at, may_have_letters, unlisted)


def _portion_size(documents: int) -> int:
    return max(SMALLEST_PORTION, -(-documents // PORTIONS))


P = ParamSpec("P")
R = TypeVar("R")


def _submit(pool: ThreadPoolExecutor, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> Future[R]:
    """Run in the present context: the task's id in logs, its trace, its time limit."""
    return pool.submit(copy_context().run, partial(call, *arguments, **named))


def _wait(step: str, future: Future[R]) -> R:
    with timed_total(WORKER_SECONDS.labels(step)):
        return future.result()


def _to_process(action: Action, target: Target, portion: Portion) -> list[Document]:
    documents = portion.documents
    if action == "embed" or target.generation.adopted is not None:
        documents = [document for document in documents if not document.is_superseded]
    if action == "embed":
        documents = [d for d in documents if not d.is_current or d.key in portion.unlisted]
    return documents


def _drop(documents: Sequence[Document], target: Target, _: WorkerContext) -> tuple[list[Embedded], list[Failed]]:
    return [without_vectors(target, document, DROPPED) for document in documents], []


def _encode(
    documents: Sequence[Document], target: Target, context: WorkerContext
) -> tuple[list[Embedded], list[Failed]]:
    model, is_adopted = target.generation.model, target.generation.adopted is not None
    without = [
        document for document in documents if document.source.is_empty or (is_adopted and document.keeps_foreign_vector)
    ]
    embedded = [without_vectors(target, document, NO_TEXT) for document in without]
    skipped = set(without)
    with_text = [document for document in documents if document not in skipped]
    if not with_text:
        return embedded, []
    encoder = context.encoders.matching(model.name, model.digest, model.probe)
    attempts = Attempts(context.redis, f"{target.uuid}-{target.name}")
    encode = context.encode(encoder, target.generation.form)
    began = time.monotonic()
    with span("encode", {"documents": len(with_text), "model": model.name}):
        encoded, failed = Encoding(target, encoder, encode, attempts).run(with_text)
    characters = sum(len(document.source.text) for document in with_text)
    context.size.learn(model.digest, characters=characters, seconds=time.monotonic() - began)
    return embedded + encoded, failed
