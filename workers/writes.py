"""Conditional writes: a vector goes only over the very version of the document that it was computed from."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import ApiError, Elasticsearch

from esblend import exact_json
from esblend.errors import IndexUnavailable
from esblend.metrics import BULK_ITEMS, BULK_SECONDS, timed
from workers.documents import Document, Target
from workers.retry_writes import patiently, patiently_again

MAX_BULK_BYTES = 8 * 2**20
EXTERNAL_SECONDS = 30
"""Elasticsearch remembers a deletion for 60 s; a write by version only that comes later would bring the document back."""
_OVERLOADED, _GONE, _CONFLICT = 429, 404, 409
_DOCUMENTS_OWN_FAULT = (400, 413, 500)


@dataclass(frozen=True)
class Write:
    """Two lines of a bulk body, valid only over the version of the document that was read."""

    document: Document
    action: dict[str, Any]
    body: dict[str, Any]

    def lines(self) -> bytes:
        """NumPy arrays are written as JSON arrays."""
        return _line(self.action) + _line(self.body)


@dataclass(frozen=True)
class Written:
    """What became of a write: `seq_no` of the new version, or the HTTP status and reason of the refusal."""

    write: Write
    status: int
    seq_no: int | None = None
    reason: str = ""

    @property
    def is_gone(self) -> bool:
        return self.status == _GONE

    @property
    def is_conflict(self) -> bool:
        return self.status == _CONFLICT

    @property
    def is_refused(self) -> bool:
        """Refused for the document's own sake: no later try will succeed."""
        return self.status in _DOCUMENTS_OWN_FAULT


def conditional_write(
    target: Target, document: Document, values: dict[str, Any], outside: Mapping[str, Any] | None = None
) -> Write:
    """Put `values` into the generation's object, and `outside` (by dotted path) beside it, over the version that was read and no
    other.

    By a partial update under (seq_no, primary_term). Where writers bring their own versions (`versioning: external`),
    an update would raise the version that the next writer has to exceed; there the whole document is written again under
    the version that it has, which Elasticsearch takes (`external_gte`) as long as no newer one has come.
    """
    field, name = target.attachment.field, target.name
    place = {"_index": target.index, "_id": document.id}
    if document.routing is not None:
        place["routing"] = document.routing
    if document.whole is None:
        action = {**place, "if_seq_no": document.seq_no, "if_primary_term": document.primary_term}
        return Write(document, {"update": action}, {"doc": _with(outside, {field: {name: values}})})
    ours = document.whole.get(field)
    whole = _with(outside, {**document.whole, field: {**(ours if isinstance(ours, dict) else {}), name: values}})
    action = {**place, "version": document.version, "version_type": "external_gte", "pipeline": "_none"}
    return Write(document, {"index": action}, whole)


def _with(outside: Mapping[str, Any] | None, document: dict[str, Any]) -> dict[str, Any]:
    """`document` with each of `outside` at its dotted path, also where a key holds the dots itself."""
    for path, value in (outside or {}).items():
        level, (*steps, last) = document, path.split(".")
        if path in document:
            steps, last = [], path
        for step in steps:
            level[step] = dict(level[step]) if isinstance(level.get(step), dict) else {}
            level = level[step]
        level[last] = value
    return document


def write_all(es: Elasticsearch, writes: Sequence[Write], *, read_at: float) -> list[Written]:
    """Send the writes in bulk requests under the byte limit; items that a full queue refused are sent again.

    `read_at` (monotonic seconds): when the documents were read. Results come in no particular order.
    Raises when Elasticsearch stays away for long, and IndexUnavailable when the index takes no writes just now.
    """
    done: list[Written] = []
    for chunk, body in _chunks(writes):
        pending, lines = list(chunk), body
        for attempt in patiently_again():
            results = _send(es, pending, lines, read_at)
            refused = [result for result in results if result.status == _OVERLOADED]
            done += [result for result in results if result.status != _OVERLOADED]
            if not refused:
                break
            if attempt.is_last:
                raise IndexUnavailable(refused[0].reason)
            pending = [result.write for result in refused]
            lines = [write.lines() for write in pending]
    for result in done:
        if result.status >= 400 and not (result.is_gone or result.is_conflict or result.is_refused):
            raise IndexUnavailable(result.reason)  # a block, a missing right: nothing that the document could help
    return done


def _send(es: Elasticsearch, writes: list[Write], lines: list[bytes], read_at: float) -> list[Written]:
    def bulk() -> Any:
        if any(write.document.whole is not None for write in writes) and time.monotonic() - read_at > EXTERNAL_SECONDS:
            raise IndexUnavailable("too much time went by since the documents were read; they are read again")
        with timed(BULK_SECONDS):
            return es.bulk(operations=lines)  # type: ignore[arg-type]  # lines as they are, not parsed again

    try:
        answer = patiently(bulk)
    except ApiError as error:
        if error.meta.status != 413:
            raise
        if len(writes) == 1:
            return [Written(writes[0], 413, reason="its vectors make a request larger than [http.max_content_length]")]
        middle = len(writes) // 2
        return _send(es, writes[:middle], lines[:middle], read_at) + _send(es, writes[middle:], lines[middle:], read_at)
    return [_written(write, *item.values()) for write, item in zip(writes, answer["items"], strict=True)]


def _line(content: dict[str, Any]) -> bytes:
    return exact_json.dumps(content) + b"\n"


def _written(write: Write, item: dict[str, Any]) -> Written:
    error = item.get("error") or {}
    reason = f"{error.get('type', '')}: {error.get('reason', '')}"
    status = int(item["status"])
    if error.get("type") == "index_not_found_exception":
        status = _GONE
    elif error.get("type") in ("index_closed_exception", "cluster_block_exception"):
        status = 503  # also where a full disk makes it a 429: a worker that waited for that would keep others waiting
    BULK_ITEMS.labels(status).inc()
    return Written(write, status, item.get("_seq_no"), reason)


def _chunks(writes: Iterable[Write]) -> Iterator[tuple[list[Write], list[bytes]]]:
    chunk: list[Write] = []
    body: list[bytes] = []
    size = 0
    for write in writes:
        lines = write.lines()
        if chunk and size + len(lines) > MAX_BULK_BYTES:
            yield chunk, body
            chunk, body, size = [], [], 0
        chunk.append(write)
        body.append(lines)
        size += len(lines)
    if chunk:
        yield chunk, body
