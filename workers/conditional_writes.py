"""Conditional writes: a vector is written only over the document version that it was computed from."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import ApiError, Elasticsearch

from esblend import exact_json, smile
from esblend.errors import IndexUnavailable
from esblend.metrics import BULK_ITEMS, BULK_SECONDS, timed
from workers.documents import Document, Target
from workers.retries import QueueFull, retried

MAX_BULK_BYTES = 8 * 2**20
_WRITES_TOGETHER = 64
"""Their lines are made together."""
EXTERNAL_SECONDS = 30
"""Elasticsearch remembers a deletion for 60 s; a later write with only an external version would recreate the document."""
_OVERLOADED, _GONE, _CONFLICT = 429, 404, 409
_DOCUMENTS_OWN_FAULT = (400, 413)
_JSON_ONLY = (400, 406, 415)
"""The answers of a proxy that passes only JSON, or of a server that does not accept the media type."""


@dataclass(frozen=True)
class Write:
    """An item of a bulk body. Elasticsearch accepts it only for the document version that was read."""

    document: Document
    action: dict[str, Any]
    body: dict[str, Any]


@dataclass(frozen=True)
class Written:
    """The result of a write: `seq_no` of the new version, or the HTTP status and reason of its rejection."""

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
    def is_rejected(self) -> bool:
        """Rejected because of the document itself: another attempt fails as well. A 500 is the server's fault: a full disk."""
        return self.status in _DOCUMENTS_OWN_FAULT


def conditional_write(
    target: Target, document: Document, values: dict[str, Any], adopted: Mapping[str, Any] | None = None
) -> Write:
    """Write `values` into the generation's object, and the values in `adopted` (by dotted path) outside it.

    With internal versions: a partial update with `if_seq_no` and `if_primary_term`. With external versions an update would
    raise the version that the next writer has to exceed, so the whole document is indexed again with its present version
    (`external_gte`), which Elasticsearch accepts until a newer version exists. That also removes dropped generations.
    """
    field, name = target.attachment.field, target.name
    action: dict[str, Any] = {"_index": target.index, "_id": document.id}
    if document.routing is not None:
        action["routing"] = document.routing
    if document.whole is None:
        action |= {"if_seq_no": document.seq_no, "if_primary_term": document.primary_term}
        return Write(document, {"update": action}, {"doc": _with(adopted, {field: {name: values}})})
    stored = document.whole.get(field)
    generations = stored if isinstance(stored, dict) else {}
    attached = {key: value for key, value in generations.items() if key in target.attachment.generations}
    whole = _with(adopted, {**document.whole, field: {**attached, name: values}})
    action |= {"version": document.version, "version_type": "external_gte", "pipeline": "_none"}
    return Write(document, {"index": action}, whole)


def _with(values: Mapping[str, Any] | None, document: dict[str, Any]) -> dict[str, Any]:
    """`document` with each of `values` at its dotted path, also where a key itself contains the dots."""
    for path, value in (values or {}).items():
        level, (*steps, last) = document, path.split(".")
        if path in document:
            steps, last = [], path
        for step in steps:
            level[step] = dict(level[step]) if isinstance(level.get(step), dict) else {}
            level = level[step]
        level[last] = value
    return document


def write_all(es: Elasticsearch, writes: Sequence[Write], *, read_at: float, refresh: bool = False) -> list[Written]:
    """Send the writes in bulk requests under the byte limit. Items that a full queue rejects are sent again.

    `read_at` (monotonic seconds): the time at which the documents were read. `refresh`: make the writes visible to searches.
    Results come in no particular order.
    Raises when Elasticsearch stays unavailable, and IndexUnavailable when the index rejects all writes at the moment.
    """
    results: list[Written] = []
    for chunk, lines in _chunks(writes):
        results += _write_chunk(es, chunk, lines, read_at, refresh)
    for result in results:
        if result.status >= 400 and not (result.is_gone or result.is_conflict or result.is_rejected):
            raise IndexUnavailable(result.reason)  # a block, a full disk, a missing privilege: not the document's fault
    return results


def _write_chunk(
    es: Elasticsearch, writes: list[Write], lines: list[bytes], read_at: float, refresh: bool
) -> list[Written]:
    results: list[Written] = []
    pending, pending_lines = writes, lines

    def send() -> None:
        nonlocal pending, pending_lines
        sent = _send(es, pending, pending_lines, read_at, refresh)
        results.extend(result for result in sent if result.status != _OVERLOADED)
        overloaded = [result for result in sent if result.status == _OVERLOADED]
        pending = [result.write for result in overloaded]
        pending_lines = lines_of(pending)
        if overloaded:
            raise QueueFull(overloaded[0].reason)

    try:
        retried(send)
    except QueueFull as error:
        raise IndexUnavailable(error.reason) from error
    return results


def _send(es: Elasticsearch, writes: list[Write], lines: list[bytes], read_at: float, refresh: bool) -> list[Written]:
    def bulk() -> Any:
        if any(write.document.whole is not None for write in writes) and time.monotonic() - read_at > EXTERNAL_SECONDS:
            raise IndexUnavailable("too much time passed since the documents were read; the feed sends them again")
        with timed(BULK_SECONDS):
            return _bulk(es, lines, refresh)

    try:
        response = retried(bulk)
    except ApiError as error:
        if error.meta.status in _JSON_ONLY and _is_binary(lines):
            return _send(es, writes, json_lines_of(writes), read_at, refresh)
        if error.meta.status != 413:
            raise
        if len(writes) == 1:
            return [Written(writes[0], 413, reason="its vectors make a request larger than [http.max_content_length]")]
        middle = len(writes) // 2
        return _send(es, writes[:middle], lines[:middle], read_at, refresh) + _send(
            es, writes[middle:], lines[middle:], read_at, refresh
        )
    return [_written(write, *item.values()) for write, item in zip(writes, response["items"], strict=True)]


def _bulk(es: Elasticsearch, lines: list[bytes], refresh: bool) -> Any:
    if not _is_binary(lines):
        return es.bulk(operations=lines, refresh=refresh or None)  # type: ignore[arg-type]  # ready-made lines
    return es.perform_request(
        "POST",
        "/_bulk",
        params={"refresh": "true"} if refresh else None,
        headers={"content-type": smile.MEDIA_TYPE, "accept": "application/json"},
        body=b"".join(lines),
        endpoint_id="bulk",
    )


def _is_binary(lines: Sequence[bytes]) -> bool:
    return lines[0].startswith(smile.HEADER)


def lines_of(writes: Sequence[Write]) -> list[bytes]:
    """The two lines of each write: SMILE for partial updates. A whole document is written as the JSON that it was: Elasticsearch
    stores it in the form in which it gets it."""
    if any(write.document.whole is not None for write in writes):
        return json_lines_of(writes)
    lines = smile.lines([part for write in writes for part in (write.action, write.body)])
    return [action + body for action, body in zip(lines[::2], lines[1::2], strict=True)]


def json_lines_of(writes: Sequence[Write]) -> list[bytes]:
    """The two lines of each write as JSON; NumPy arrays become JSON arrays."""
    return [_line(write.action) + _line(write.body) for write in writes]


def _line(content: dict[str, Any]) -> bytes:
    return exact_json.dumps(content) + b"\n"


def _written(write: Write, item: dict[str, Any]) -> Written:
    error = item.get("error") or {}
    reason = f"{error.get('type', '')}: {error.get('reason', '')}"
    status = int(item["status"])
    if error.get("type") == "index_not_found_exception":
        status = _GONE
    elif error.get("type") in ("index_closed_exception", "cluster_block_exception"):
        status = 503  # also when a full disk makes it a 429: waiting here would delay other indices
    BULK_ITEMS.labels(status).inc()
    return Written(write, status, item.get("_seq_no"), reason)


def _chunks(writes: Sequence[Write]) -> Iterator[tuple[list[Write], list[bytes]]]:
    chunk: list[Write] = []
    body: list[bytes] = []
    size = 0
    for start in range(0, len(writes), _WRITES_TOGETHER):
        together = writes[start : start + _WRITES_TOGETHER]
        for write, lines in zip(together, lines_of(together), strict=True):
            if chunk and size + len(lines) > MAX_BULK_BYTES:
                yield chunk, body
                chunk, body, size = [], [], 0
            chunk.append(write)
            body.append(lines)
            size += len(lines)
    if chunk:
        yield chunk, body
