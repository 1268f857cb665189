"""The text of a document: what is embedded, read from its `_source` as the writers left it."""

import base64
import dataclasses
import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mappings.attachment import Attachment, Generation

SEPARATOR = "\n"
"""Between the values of source fields, and between the values of an array."""


@dataclass(frozen=True)
class SourceText:
    """All source fields' text in one string. Offsets of passages count its characters (code points)."""

    text: str
    title: str
    """The first source field's text when a further one follows, to be repeated in later passages; else empty."""
    parts: tuple[tuple[str, int, int], ...] = dataclasses.field(default=(), compare=False)
    """(source field, start, end) of each field that has a text."""


def source_text(source: Mapping[str, Any], fields: Sequence[str]) -> SourceText:
    """Join the texts of `fields`. Strings count as they are, numbers and booleans as Elasticsearch indexes them in a text
    field; null, empty and missing values count as none. With one plain string field, the text is that very string."""
    parts = [SEPARATOR.join(_strings(_values(source, field))) for field in fields]
    filled = [part for part in parts if part.strip()]
    places, start = [], 0
    for name, part in zip(fields, parts, strict=True):
        if part.strip():
            places.append((name, start, start + len(part)))
            start += len(part) + len(SEPARATOR)
    title = parts[0] if len(fields) > 1 and len(filled) > 1 and parts[0].strip() else ""
    return SourceText(SEPARATOR.join(filled), title, tuple(places))


def kept(source: Mapping[str, Any], name: str, generation: str) -> Mapping[str, Any]:
    """What a document holds of one generation: fingerprint, state, passages; empty when it holds nothing usable."""
    ours = source.get(name)
    found = ours.get(generation) if isinstance(ours, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def stored_passages(ours: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The passages in what `kept` found. A synthetic `_source` shows a list of one as the one."""
    found = ours.get("passages") or []
    return [found] if isinstance(found, Mapping) else list(found)


def stored_vectors(source: Mapping[str, Any], attachment: Attachment) -> list[list[float]]:
    """The vectors that a document holds of the active generation, in the order of its passages; none it has not."""
    ours = kept(source, attachment.field, attachment.active)
    if attachment.generation.adopted is not None:
        found = list(_values(source, attachment.vector_field))
    elif attachment.is_nested:
        found = [passage.get("vector") for passage in stored_passages(ours)]
    else:
        found = [ours.get("vector")]
    return [vector for vector in found if vector is not None]


def fingerprint(source: Mapping[str, Any], fields: Sequence[str], generation: Generation) -> str:
    """What was embedded: the values of the source fields, model and passage settings. SHA-256 in base64.

    Computed as Elasticsearch's `fingerprint` processor does it over the list [field, value, value, field, ...] with
    `fingerprint_salt`, so that the guard's pipeline comes to the same (see `mappings.guard`).
    """
    digest = hashlib.sha256(fingerprint_salt(generation).encode())
    for value in fingerprinted_values(source, fields):
        digest.update(b"\0")
        digest.update(_processor_bytes(value))
    return base64.b64encode(digest.digest()).decode()


def fingerprint_salt(generation: Generation) -> str:
    """Everything but the text that decides the vectors."""
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
    """For each field its name, how many values it has, and those, lists flattened; null and objects count as none."""
    for field in fields:
        values = list(_leaves(_values(source, field)))
        yield field
        yield str(len(values))
        yield from values


def can_be_guarded(source: Mapping[str, Any], fields: Sequence[str]) -> bool:
    """Whether Elasticsearch's processor can fingerprint these values: it takes no whole numbers beyond 64 bits."""
    return not any(
        isinstance(value, int | float) and float(value).is_integer() and not -(2**63) <= value < 2**63
        for value in fingerprinted_values(source, fields)
    )


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _leaves(value)
        elif value is not None and not isinstance(value, Mapping):
            yield value


def _processor_bytes(value: str | bool | int | float) -> bytes:
    """A value as the `fingerprint` processor feeds it to the hash: Java's UTF-8, and numbers in their least width."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")  # Java too writes a lone surrogate as a question mark
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
    """Everything at a dotted path, through objects, arrays of objects and keys that hold dots themselves."""
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
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, bool):
            yield "true" if value else "false"
        elif isinstance(value, int | float):
            yield str(value)
        elif isinstance(value, list):
            yield from (text for text in _strings(iter(value)) if text)
