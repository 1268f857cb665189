"""The results of a reader: documents, and lines or files that hold none. Ids are stable: reading a file again adds no documents."""

import base64
import datetime
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_DOCUMENT = 64 * 2**20
"""Bytes of one document or line. Elasticsearch takes requests of at most 100 MB by default."""


@dataclass(frozen=True)
class FileDocument:
    """A document to index."""

    id: str
    source: dict[str, Any]


@dataclass(frozen=True)
class Unreadable:
    """A line or file that holds no document."""

    where: str
    reason: str


@dataclass(frozen=True)
class Skipped:
    """A file or folder that the reader skips by design. `kind`: a plural noun."""

    kind: str


ReadResult = FileDocument | Unreadable | Skipped


@dataclass(frozen=True)
class LoadOptions:
    """`id_field`: the field with the id, instead of `_id` or `id`. `encoding`: None: UTF-8, or what a byte order mark says.
    `ignore`: patterns of names or of paths below a folder. `renamed`: field -> new name."""

    id_field: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    ignore: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)


def as_document(source: dict[str, Any], where: str, options: LoadOptions, *, path: str | None = None) -> ReadResult:
    """A document of `source`. Its id is the named field's value, else `_id` or `id`, else `path`, else a digest of its content.

    `_id` is the document's id and not a field; `id` and a named field stay fields.
    """
    id_ = source.pop("_id", None)
    if options.id_field is not None and options.id_field != "_id":
        id_ = source.get(options.id_field)
    elif id_ is None and path is None:
        id_ = source.get("id")
    if options.id_field is not None and (id_ is None or id_ == ""):
        return Unreadable(where, f"the document has no [{options.id_field}], which --id-field names")
    if isinstance(id_, dict | list):
        return Unreadable(where, "the document's id must be a text or a number")
    if id_ is None:
        id_ = path if path is not None else _digest(source)
    return FileDocument(str(id_), {options.renamed.get(name, name): value for name, value in source.items()})


def plain_fields(source: Mapping[Any, Any]) -> dict[str, Any]:
    """Fields that JSON can hold: no field for null, NaN and infinity; Base64 for bytes that are not UTF-8; texts for times."""
    return {str(name): _plain(value) for name, value in source.items() if not _is_nothing(value)}


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return plain_fields(value)
    if isinstance(value, list | tuple | set):
        return [None if _is_nothing(element) else _plain(element) for element in value]
    if isinstance(value, datetime.time | datetime.timedelta):
        return str(value)
    return value


def _digest(source: dict[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(source, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()[:32]
