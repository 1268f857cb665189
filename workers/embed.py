"""From task to vector.

read -> vectors exist for this text? skip -> passages -> encode -> conditional bulk
                                                  \\-> fails -> dead letter

A task is processed in portions: while one is encoded, the next is read and the previous ones are written. A backfill's task ends
after a portion when live changes wait, or when it takes long; the feed sends the rest again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

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
from workers.encoding import Embedded, Encode, Encoding, Failed, Vectors, document_key, forget_given_up
from workers.portion_flow import Encoded, PortionFlow
from workers.portion_writes import Portion, Report, write_portion
from workers.portions import PortionSize, cut
from workers.range_reading import RangeReader
from workers.refresh_pace import RefreshPace
from workers.retries import retry_limit
from workers.vector_writes import without_vectors

_PAGES = 8
_SMALLEST_PAGE = 32
"""Documents read together; fewer are too few texts to sort by length."""
_LARGEST_PAGE = 125
"""Their texts may be long. Pages of short texts grow up to an eighth of the task."""
_HOLD_SECONDS = 3.0
"""Vectors of a backfill are written this often, at least: each write costs Elasticsearch a segment with a graph of its vectors."""
_LONG_SECONDS = 16.0
"""A task of a backfill ends after a portion when it takes longer: the feed does not know yet how fast its first tasks will be."""
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
    refreshes: RefreshPace = field(default_factory=RefreshPace)
    _encode: dict[tuple[str, Form], Encode] = field(default_factory=dict)

    def on_behalf_of(self, request_id: str) -> "WorkerContext":
        """A copy whose requests carry this id in Elasticsearch's slow log and task list."""
        return replace(self, es=self.es.options(opaque_id=request_id))

    def has_waiting_live_task(self) -> bool:
        """Whether a live task is in the queue. RabbitMQ is not asked."""
        with suppress(RedisError):
            return self.is_queue_in_redis and int(self.redis.llen(queue_name("live"))) > 0
        return False

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
    range of the backfill ends early for a live task, or when it takes long, after at least one portion; a live task of a few
    changes makes its vectors visible at once, unless more live tasks wait.
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
    ends_at = time.monotonic() + _LONG_SECONDS
    attempts = Attempts(context.redis, f"{target.uuid}-{target.name}")
    model = target.generation.model.digest

    def encode(portion: Portion) -> Encoded:
        documents = _to_process(action, target, portion)
        began = time.monotonic()
        embedded, failed = (
            ([without_vectors(target, document, DROPPED) for document in documents], [])
            if action == "drop"
            else _encode(documents, target, context, attempts)
        )
        return Encoded(portion, embedded, failed, began, time.monotonic())

    def write(encoded: Encoded) -> EmbedResult:
        refresh = refreshes and bool(encoded.embedded) and context.refreshes.is_due(target)
        began = time.monotonic()
        portion, embedded, failed = encoded.portion, encoded.embedded, encoded.failed
        result = write_portion(context.es, target, portion, embedded, failed, report, refresh=refresh)
        forget_given_up(attempts, failed)
        if refresh:
            context.refreshes.note(target, seconds=time.monotonic() - began)
        return result

    def learn(encoded: Encoded, seconds: float) -> None:
        characters = sum(len(result.document.source.text) for result in encoded.embedded if len(result.vectors))
        context.size.learn(model, characters=characters, seconds=seconds)

    flow = PortionFlow(
        encode=encode,
        write=write,
        is_suspect=lambda portion: any(attempts.count([document_key(document) for document in portion.documents])),
        learn=learn,
        ends_early=lambda: lane == "backfill" and (time.monotonic() >= ends_at or context.has_waiting_live_task()),
        hold_seconds=0.0 if lane == "live" else _HOLD_SECONDS,
    )
    return flow.run(portions)


def _portions_by_id(
    task: EmbedTask, target: Target, context: WorkerContext, may_have_letters: bool
) -> Iterator[Portion]:
    size = page_size(len(task.documents))
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
    documents = min(task.max_documents, task.until - task.after)
    reader = RangeReader(context.es, target, task, page_size(documents), documents // _PAGES)
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


def page_size(documents: int) -> int:
    """The documents that one request reads, in a task of so many."""
    return min(_LARGEST_PAGE, max(_SMALLEST_PAGE, -(-documents // _PAGES)))


def _to_process(action: Action, target: Target, portion: Portion) -> list[Document]:
    documents = portion.documents
    if action == "embed" or target.generation.adopted is not None:
        documents = [document for document in documents if not document.is_superseded]
    if action == "embed":
        documents = [d for d in documents if not d.is_current or d.key in portion.unlisted]
    return documents


def _encode(
    documents: Sequence[Document], target: Target, context: WorkerContext, attempts: Attempts
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
    encode = context.encode(encoder, target.generation.form)
    with span("encode", {"documents": len(with_text), "model": model.name}):
        encoded, failed = Encoding(target, encoder, encode, attempts).run(with_text)
    return embedded + encoded, failed
