"""Conditional writes: a vector goes only over the very version of the document that it was computed from."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from elasticsearch import Elasticsearch

from workers.patience import patiently, patiently_again

MAX_BULK_BYTES = 8 * 2**20
_OVERLOADED = 429


@dataclass(frozen=True)
class Write:
    """A partial update of one document, valid only over (seq_no, primary_term)."""

    index: str
    id: str
    routing: str | None
    seq_no: int
    primary_term: int
    changes: dict[str, Any]

    def lines(self) -> bytes:
        """The write as two lines of a bulk body. NumPy arrays in `changes` are written as JSON arrays."""
        action: dict[str, Any] = {
            "_index": self.index, "_id": self.id, "if_seq_no": self.seq_no, "if_primary_term": self.primary_term,
        }  # fmt: skip
        if self.routing is not None:
            action["routing"] = self.routing
        head = orjson.dumps({"update": action}, option=orjson.OPT_APPEND_NEWLINE)
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        return head + orjson.dumps({"doc": self.changes}, option=options)


@dataclass(frozen=True)
class Written:
    """What became of a write: `seq_no` of the new version, or the HTTP status and reason of the refusal."""

    write: Write
    status: int
    seq_no: int | None = None
    reason: str = ""


def write_all(es: Elasticsearch, writes: Sequence[Write]) -> list[Written]:
    """Send the writes in bulk requests under the byte limit; items that a full queue refused are sent again.

    Results come in no particular order. Raises when Elasticsearch stays away for long.
    """
    done: list[Written] = []
    for chunk, body in _chunks(writes):
        pending, lines = list(chunk), body
        for attempt in patiently_again():
            answer = patiently(lambda body=lines: es.bulk(operations=body))  # type: ignore[misc]
            results = [_written(write, item["update"]) for write, item in zip(pending, answer["items"], strict=True)]
            refused = [result for result in results if result.status == _OVERLOADED]
            done += [result for result in results if result.status != _OVERLOADED]
            if not refused or attempt.is_last:
                done += refused
                break
            pending = [result.write for result in refused]
            lines = [write.lines() for write in pending]
    return done


def _written(write: Write, item: dict[str, Any]) -> Written:
    error = item.get("error") or {}
    return Written(
        write, int(item["status"]), item.get("_seq_no"), f"{error.get('type', '')}: {error.get('reason', '')}"
    )


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
