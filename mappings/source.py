"""The text of a document, the fingerprint of that text, and the vectors that the document holds: read from its `_source`."""

import base64
import dataclasses
import hashlib
import json
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mappings.attachment import Attachment, Generation

_INT_DIGITS = 4000
"""Python converts longer strings to integers only with another setting of the interpreter."""
SEPARATOR = "\n"
"""Separates the values of source fields, and the values of an array."""


@dataclass(frozen=True)
class SourceText:
    """All source fields' text in one string. Offsets of passages count its characters (code points)."""

    text: str
    title: str
    """The first source field's text when a further one follows, to be repeated in later passages; else empty."""
    parts: tuple[tuple[str, int, int], ...] = dataclasses.field(default=(), compare=False)
    """(source field, start, end) of each field that has a text."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to embed: only white space, control characters, zero-width characters, lone accents."""
        return not any(unicodedata.category(char)[0] not in "CZM" for char in self.text)


def source_text(source: Mapping[str, Any], fields: Sequence[str]) -> SourceText:
    """Join the texts of `fields`. Numbers and booleans are written as Elasticsearch indexes them in a text field; null, empty and
    missing values are skipped. The text of a single string field is that string, unchanged."""
    parts = [SEPARATOR.join(_strings(_values(source, field))) for field in fields]
    non_empty = [part for part in parts if part.strip()]
    spans, start = [], 0
    for name, part in zip(fields, parts, strict=True):
        if part.strip():
            spans.append((name, start, start + len(part)))
            start += len(part) + len(SEPARATOR)
    title = parts[0] if len(fields) > 1 and len(non_empty) > 1 and parts[0].strip() else ""
    return SourceText(SEPARATOR.join(non_empty), title, tuple(spans))


def generation_object(source: Mapping[str, Any], field: str, generation: str) -> Mapping[str, Any]:
    """The object that a document holds for a generation (fingerprint, state, passages); empty when there is none."""
    attached = source.get(field)
    stored = attached.get(generation) if isinstance(attached, Mapping) else None
    return stored if isinstance(stored, Mapping) else {}


def stored_passages(stored: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The passages in a generation's object. A synthetic `_source` shows a list of one object as the object."""
    passages = stored.get("passages") or []
    return [passages] if isinstance(passages, Mapping) else list(passages)


def expected_vectors(stored: Mapping[str, Any], attachment: Attachment) -> int:
    """The number of vectors that belong to a generation's object with the state `embedded`; 0 when it lists no passages."""
    if attachment.is_nested and attachment.generation.adopted is None:
        return len(stored_passages(stored))
    return 1


def stored_vectors(source: Mapping[str, Any], attachment: Attachment) -> list[list[float]]:
    """The vectors that a document holds of the active generation, in the order of its passages."""
    stored = generation_object(source, attachment.field, attachment.active)
    if attachment.generation.adopted is not None:
        vectors = list(_values(source, attachment.vector_field))
    elif attachment.is_nested:
        vectors = [passage.get("vector") for passage in stored_passages(stored)]
    else:
        vectors = [stored.get("vector")]
    return [vector for vector in vectors if vector is not None]


def fingerprint(source: Mapping[str, Any], fields: Sequence[str], generation: Generation) -> str:
    """The SHA-256, in base64, of everything that decides the vectors: values of the source fields, model, passage settings.

    Elasticsearch's `fingerprint` processor gives the same result over the list [field, count, value, value, field, ...] with
    `fingerprint_salt`; the guard's pipeline depends on that (see `mappings.guard`).
    """
    digest = hashlib.sha256(fingerprint_salt(generation).encode())
    for value in fingerprinted_values(source, fields):
        digest.update(b"\0")
        digest.update(_processor_bytes(value))
    return base64.b64encode(digest.digest()).decode()


def fingerprint_salt(generation: Generation) -> str:
    """Everything except the text that decides the vectors."""
    passages, form = generation.passages, generation.form
    decisive = [
        generation.model.digest,
        passages.max_tokens,
        passages.overlap_tokens,
        passages.splitter,
        passages.fields,
    ]
    return json.dumps([*decisive, generation.vector.layout, form.dims, form.unit, form.document_prompt])


def fingerprinted_values(source: Mapping[str, Any], fields: Sequence[str]) -> Iterator[Any]:
    """For each field: its name, the number of its values, the values. Lists are flattened; null and objects are skipped."""
    for field in fields:
        values = list(_leaves(_values(source, field)))
        yield field
        yield str(len(values))
        yield from values


def can_be_guarded(source: Mapping[str, Any], fields: Sequence[str]) -> bool:
    """Whether Elasticsearch's processor can fingerprint these values: it rejects whole numbers beyond 64 bits."""
    return not any(
        isinstance(value, int | float) and float(value).is_integer() and not -(2**63) <= value < 2**63
        for value in fingerprinted_values(source, fields)
    )


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, orjson.Fragment):
            yield _number(value)
        elif isinstance(value, list):
            yield from _leaves(value)
        elif value is not None and not isinstance(value, Mapping):
            yield value


def _number(fragment: orjson.Fragment) -> int | float:
    """A number with more digits than `esblend.exact_json` represents as a Python number."""
    text = orjson.dumps(fragment).decode()
    return int(text) if text.lstrip("-").isdigit() and len(text) < _INT_DIGITS else float(text)


def _processor_bytes(value: str | bool | int | float) -> bytes:
    """A value as the `fingerprint` processor adds it to the hash: Java's UTF-8; each number in its smallest Java type."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")  # Java also writes a lone surrogate as a question mark
    if isinstance(value, bool):
        return b"\1" if value else b"\2"
    if isinstance(value, float):
        return struct.pack("<d", value)
    if -(2**31) <= value < 2**31:
        return struct.pack("<i", value)
    if -(2**63) <= value < 2**63:
        return struct.pack("<q", value)
    return str(value).encode()  # see can_be_guarded


def _values(source: Any, path: str) -> Iterator[Any]:
    """All values at a dotted path, through objects, arrays of objects and keys that contain dots."""
    if isinstance(source, list):
        for item in source:
            yield from _values(item, path)
        return
    if not isinstance(source, Mapping):
        return
    if path in source:
        yield source[path]
    steps = path.split(".")
    for cut in range(1, len(steps)):
        head = ".".join(steps[:cut])
        if head in source:
            yield from _values(source[head], ".".join(steps[cut:]))


def _strings(values: Iterator[Any]) -> Iterator[str]:
    for item in values:
        value = _number(item) if isinstance(item, orjson.Fragment) else item
        if isinstance(value, str):
            yield value
        elif isinstance(value, bool):
            yield "true" if value else "false"
        elif isinstance(value, int | float):
            yield str(value)
        elif isinstance(value, list):
            yield from (text for text in _strings(iter(value)) if text)
