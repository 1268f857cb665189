"""Reads the documents of a task as they stand now: version, text, and what was embedded of it before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from elastic_transport import ConnectionTimeout
from elasticsearch import ApiError, Elasticsearch, NotFoundError

from esblend.broker import DocumentRef, EmbedTask
from esblend.elasticsearch_connection import keeps_vectors_back
from esblend.errors import IndexUnavailable
from mappings.attachment import Attachment, Generation, read_attachment
from mappings.source import SourceText, can_be_guarded, fingerprint, kept, source_text
from workers.retry_writes import patiently

_JSON = {"accept": "application/json", "content-type": "application/json"}
_NESTED_LIMIT = 10_000
"""Elasticsearch's own `index.mapping.nested_objects.limit`."""


@dataclass(frozen=True)
class Target:
    """The index of a task as it stands now, and what to make of its documents."""

    index: str
    uuid: str
    attachment: Attachment
    name: str
    """Of the generation."""
    nested_limit: int
    """Nested objects that a document may have."""

    @property
    def generation(self) -> Generation:
        return self.attachment.generation


@dataclass(frozen=True, eq=False)
class Document:
    """One document as it was read. Two are the same only if they are one object."""

    id: str
    routing: str | None
    seq_no: int
    primary_term: int
    version: int
    source: SourceText
    fingerprint: str
    known_fingerprint: str | None
    can_be_guarded: bool = True
    whole: dict[str, Any] | None = None
    """The complete `_source`, vectors included; only where writing needs it."""


def find_target(es: Elasticsearch, task: EmbedTask) -> Target | None:
    """None when the index of the task is gone, made anew or not attached, or its generation was dropped."""
    try:
        answer = patiently(lambda: es.indices.get(index=task.index, features=["mappings", "settings"]))
    except NotFoundError:
        return None
    body = answer.body.get(task.index)
    if body is None or body["settings"]["index"]["uuid"] != task.uuid:
        return None
    attachment = read_attachment(body["mappings"])
    if attachment is None or task.generation not in attachment.generations:
        return None
    mapping_settings = body["settings"]["index"].get("mapping") or {}
    limit = (mapping_settings.get("nested_objects") or {}).get("limit", _NESTED_LIMIT)
    return Target(task.index, task.uuid, attachment.using(task.generation), task.generation, int(limit))


def read_documents(es: Elasticsearch, target: Target, references: Sequence[DocumentRef]) -> list[Document]:
    """Those of `references` that are still there, each once. Raises IndexUnavailable when they cannot be read now."""
    wanted = sorted({(reference.id, reference.routing) for reference in references}, key=str)
    return [_document(found, target) for found in _get(es, target, wanted)]


def _get(es: Elasticsearch, target: Target, wanted: list[tuple[str, str | None]]) -> list[dict[str, Any]]:
    read: dict[str, Any] = {}
    parameters = {}
    if target.attachment.versioning == "internal":
        # In the body: in the URL, a comma in a field's name splits it, and long names exceed Elasticsearch's 4 KiB.
        root = f"{target.attachment.field}.{target.name}"
        read = {"_source": {"includes": [*target.attachment.source_fields, f"{root}.fingerprint"]}}
    elif keeps_vectors_back(es):
        parameters = {"_source_exclude_vectors": "false"}
    items = [{"_id": id_, **({"routing": routing} if routing is not None else {}), **read} for id_, routing in wanted]
    try:
        answer = patiently(
            lambda: es.perform_request(
                "POST",
                f"/{quote(target.index, safe='')}/_mget",
                params=parameters,
                body={"docs": items},
                headers=_JSON,
                endpoint_id="mget",
            ),
            gives_up=_is_too_much,
        )
    except (ApiError, ConnectionTimeout) as error:
        if not _is_too_much(error) or len(wanted) == 1:
            raise
        # Documents may be as large as a whole request: fewer of them at a time.
        middle = len(wanted) // 2
        return _get(es, target, wanted[:middle]) + _get(es, target, wanted[middle:])
    return [found for found in answer.body["docs"] if _is_there(found, target.index)]


def _is_too_much(error: Exception) -> bool:
    if isinstance(error, ApiError):
        return error.error == "circuit_breaking_exception" or error.meta.status == 413
    return isinstance(error, ConnectionTimeout)


def _is_there(found: dict[str, Any], index: str) -> bool:
    if "error" not in found:
        return bool(found.get("found"))
    if found["error"].get("type") == "index_not_found_exception":
        return False
    raise IndexUnavailable(f"documents of [{index}] cannot be read: {found['error'].get('reason')}")


def _document(found: dict[str, Any], target: Target) -> Document:
    source = found.get("_source") or {}
    fields = target.attachment.source_fields
    known = kept(source, target.attachment.field, target.name)
    return Document(
        id=found["_id"],
        routing=found.get("_routing"),
        seq_no=found["_seq_no"],
        primary_term=found["_primary_term"],
        version=found["_version"],
        source=source_text(source, fields),
        fingerprint=fingerprint(source, fields, target.generation),
        known_fingerprint=known.get("fingerprint"),
        can_be_guarded=not target.attachment.guard or can_be_guarded(source, fields),
        whole=source if target.attachment.versioning == "external" else None,
    )
