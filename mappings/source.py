"""The text of a document: what is embedded, read from its `_source` as the writers left it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mappings.attachment import Generation

SEPARATOR = "\n"
"""Between the values of source fields, and between the values of an array."""


@dataclass(frozen=True)
class SourceText:
    """All source fields' text in one string. Offsets of passages count its characters (code points)."""

    text: str
    title: str
    """The first source field's text when a further one follows, to be repeated in later passages; else empty."""


def source_text(source: Mapping[str, Any], fields: Sequence[str]) -> SourceText:
    """Join the texts of `fields`. Strings count as they are, numbers and booleans as Elasticsearch indexes them in a text
    field; null, empty and missing values count as none. With one plain string field, the text is that very string."""
    parts = [SEPARATOR.join(_strings(_values(source, field))) for field in fields]
    filled = [part for part in parts if part.strip()]
    title = parts[0] if len(fields) > 1 and len(filled) > 1 and parts[0].strip() else ""
    return SourceText(SEPARATOR.join(filled), title)


def fingerprint(text: str, fields: Sequence[str], generation: Generation) -> str:
    """What was embedded: source text, model, passage settings. 40 hex digits of SHA-256."""
    settings = f"{generation.model.digest}|{generation.passages.max_tokens}|{generation.passages.overlap_tokens}|{list(fields)}"
    digest = hashlib.sha256(settings.encode())
    digest.update(b"\0")
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:40]


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
