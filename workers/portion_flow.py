"""Takes the portions of a task through reading, encoding and writing, which overlap.

one is read ahead -> two in the encoder -> encoded ones collect -> one bulk request

The encoder computes portions one after the other. With the next one split and tokenised in advance it is never idle in between.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ParamSpec, TypeVar

from esblend.broker import EmbedResult
from esblend.metrics import WORKER_SECONDS, timed_total
from workers.encoding import Embedded, Failed
from workers.portion_writes import Portion

P = ParamSpec("P")
R = TypeVar("R")
_ENCODED_AT_ONCE = 2
_WRITES_AT_ONCE = 2
"""Elasticsearch works on one request with one thread a shard. With fast encoders, one write at a time would limit a worker."""
_ENOUGH_PASSAGES = 100
"""Portions with this many passages are written at once if another write may start."""
_MOST_PASSAGES = 500
"""The most passages held in memory: further portions wait for a write."""


@dataclass(frozen=True)
class Encoded:
    """The results of a portion. `began` and `ended`: monotonic seconds."""

    portion: Portion
    embedded: list[Embedded]
    failed: list[Failed]
    began: float = 0.0
    ended: float = 0.0

    @property
    def passages(self) -> int:
        """The number of passages, and of documents without any."""
        return sum(max(1, len(result.passages)) for result in self.embedded) + len(self.failed)


@dataclass(frozen=True)
class PortionFlow:
    """The functions that a task applies to its portions."""

    encode: Callable[[Portion], Encoded]
    write: Callable[[Encoded], EmbedResult]
    is_suspect: Callable[[Portion], bool]
    """Whether a portion may end the process. It is encoded alone, so that only its own documents count as suspects afterwards, and
    after all others are written."""
    learn: Callable[[Encoded, float], None]
    """Called with each encoded portion and the seconds that the encoder spent on it."""
    ends_early: Callable[[], bool]
    """Called before each portion except the first. If true, the portions in the encoder are finished; a portion that was only
    read is not."""
    hold_seconds: float
    """Encoded portions are written together after this time, or earlier when they have many passages. Each write causes a new
    segment with a graph of its vectors at the next refresh."""

    def run(self, portions: Iterator[Portion]) -> EmbedResult:
        """The sum of the results, with the `until` of the last portion. Raises the first error after everything that is encoded was
        written: the next task then has less to do."""
        with (
            ThreadPoolExecutor(1, "read") as reader,
            ThreadPoolExecutor(_ENCODED_AT_ONCE, "encode") as encoder,
            ThreadPoolExecutor(_WRITES_AT_ONCE, "write") as writer,
        ):
            progress = _Progress(self, writer)
            try:
                self._process(portions, reader, encoder, progress)
                return progress.end()
            except Exception:
                progress.save()
                raise

    def _process(
        self,
        portions: Iterator[Portion],
        reader: ThreadPoolExecutor,
        encoder: ThreadPoolExecutor,
        progress: "_Progress",
    ) -> None:
        reading = _submit(reader, self._read, portions)
        while (read := progress.wait("wait for reading", reading)) is not None:
            reading = _submit(reader, self._read, portions)
            portion, is_suspect = read
            if is_suspect:
                progress.finish()  # the process may end now, and with it all that is not written
            progress.finish_encoding(down_to=_ENCODED_AT_ONCE - 1)
            if progress.has_begun and self.ends_early():
                return
            progress.begin_encoding(portion, encoder)
            if is_suspect:
                progress.finish()

    def _read(self, portions: Iterator[Portion]) -> tuple[Portion, bool] | None:
        portion = next(portions, None)
        return None if portion is None else (portion, self.is_suspect(portion))


@dataclass
class _Progress:
    flow: PortionFlow
    writer: ThreadPoolExecutor
    has_begun: bool = False
    _encoding: deque[Future[Encoded]] = field(default_factory=deque)
    _until: int | None = None
    _held: list[Encoded] = field(default_factory=list)
    _held_since: float = 0.0
    _ended: float = 0.0
    """The time at which the encoder finished the last portion."""
    _writing: deque[Future[EmbedResult]] = field(default_factory=deque)
    _total: EmbedResult = field(default_factory=EmbedResult)

    def begin_encoding(self, portion: Portion, encoder: ThreadPoolExecutor) -> None:
        self._encoding.append(_submit(encoder, self.flow.encode, portion))
        self.has_begun = True

    def finish_encoding(self, *, down_to: int) -> None:
        """Wait until at most `down_to` portions are in the encoder."""
        while len(self._encoding) > down_to:
            encoded = self.wait("encode", self._encoding[0])
            self._encoding.popleft()
            self.flow.learn(encoded, encoded.ended - max(encoded.began, self._ended))
            self._ended = max(self._ended, encoded.ended)
            self._until = encoded.portion.until
            if not self._held:
                self._held_since = time.monotonic()
            self._held.append(encoded)
            if self._is_write_due():
                self._write()

    def finish(self) -> None:
        """Wait until all portions are encoded and written."""
        self.finish_encoding(down_to=0)
        self._write()
        self._finish_writing(down_to=0)

    def end(self) -> EmbedResult:
        self.finish()
        return self._total.model_copy(update={"until": self._until})

    def save(self) -> None:
        """After an error: write what is encoded, as far as possible."""
        for encoding in self._encoding:
            with suppress(Exception):
                self._held.append(encoding.result())
        with suppress(Exception):
            self._write()
            self._finish_writing(down_to=0)

    def wait(self, step: str, future: Future[R]) -> R:
        """The result of `future`. Held portions are written in time even when it takes longer."""
        if self._held:
            seconds = self._held_since + self.flow.hold_seconds - time.monotonic()
            with timed_total(WORKER_SECONDS.labels(step)):
                wait([future], timeout=max(0.0, seconds))
            if not future.done():
                self._write()
        return _wait(step, future)

    def _is_write_due(self) -> bool:
        passages = sum(encoded.passages for encoded in self._held)
        in_progress = sum(not write.done() for write in self._writing)
        return (
            time.monotonic() - self._held_since >= self.flow.hold_seconds
            or passages >= _MOST_PASSAGES
            or (passages >= _ENOUGH_PASSAGES and in_progress < _WRITES_AT_ONCE)
        )

    def _write(self) -> None:
        if self._held:
            self._finish_writing(down_to=_WRITES_AT_ONCE - 1)
            held, self._held = _joined(self._held), []
            self._writing.append(_submit(self.writer, self.flow.write, held))

    def _finish_writing(self, *, down_to: int) -> None:
        while len(self._writing) > down_to:
            self._total = self._total.plus(_wait("wait for writing", self._writing.popleft()))


def _joined(parts: Sequence[Encoded]) -> Encoded:
    """Portions of one task that follow each other, as one."""
    if len(parts) == 1:
        return parts[0]
    portion = replace(
        parts[-1].portion,
        requested=[key for part in parts for key in part.portion.requested],
        documents=[document for part in parts for document in part.portion.documents],
        read_at=min(part.portion.read_at for part in parts),
        unlisted={key for part in parts for key in part.portion.unlisted},
    )
    embedded = [result for part in parts for result in part.embedded]
    return Encoded(portion, embedded, [failed for part in parts for failed in part.failed])


def _submit(pool: ThreadPoolExecutor, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> Future[R]:
    """Run in the present context: the task's id in logs, its trace, its time limit."""
    return pool.submit(copy_context().run, partial(call, *arguments, **named))


def _wait(step: str, future: Future[R]) -> R:
    with timed_total(WORKER_SECONDS.labels(step)):
        return future.result()
