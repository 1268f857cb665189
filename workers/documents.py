"""Reads the documents of a task by their ids: version, text, the generation's object, and the number of vectors that exist.

_mget (realtime, no vectors) -> fingerprint matches? -> search that counts the vectors of each document, without reading them
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from elastic_transport import ConnectionTimeout
from elasticsearch import ApiError, Elasticsearch, NotFoundError

from esblend.broker import DocumentRef, EmbedTask, RangeTask
from esblend.elasticsearch_connection import keeps_vectors_back
from esblend.errors import IndexUnavailable, InvalidRequest
from esblend.multi_get import existing
from mappings.attachment import (
    ADOPTED,
    DEAD_LETTER,
    DROPPED,
    EMBEDDED,
    NO_TEXT,
    Attachment,
    Generation,
    read_attachment,
)
from mappings.builder import has_lost_attachment
from mappings.coverage import vector_count
from mappings.source import (
    SourceText,
    can_be_guarded,
    expected_vectors,
    fingerprint,
    generation_object,
    source_text,
)
from workers.retries import retried

DocumentKey = tuple[str, str | None]
"""Id and routing."""
_JSON = {"accept": "application/json", "content-type": "application/json"}
_NESTED_LIMIT, _RESULT_WINDOW = 10_000, 10_000
"""Elasticsearch's defaults of `index.mapping.nested_objects.limit` and `index.max_result_window`."""
_NOT_COUNTED = -1


@dataclass(frozen=True)
class Target:
    """The index of a task with its current attachment; the task's generation is the attachment's active one here."""

    index: str
    uuid: str
    attachment: Attachment
    name: str
    """The generation's name."""
    nested_limit: int
    """The number of nested objects that a document may have."""
    result_window: int
    """The number of hits that a search may return."""
    refreshes_each_second: bool = False
    """Whether `refresh_interval` is at its default: nobody has asked for fewer refreshes."""

    @property
    def generation(self) -> Generation:
        return self.attachment.generation


@dataclass(frozen=True, eq=False)
class Document:
    """A document as it was read. Documents are compared by identity."""

    id: str
    routing: str | None
    seq_no: int
    primary_term: int
    version: int
    source: SourceText
    fingerprint: str
    """Computed from the text that was read."""
    stored_fingerprint: str | None
    stored_state: str | None
    expected_vectors: int
    """The number of vectors that belong to the stored object."""
    can_be_guarded: bool = True
    whole: dict[str, Any] | None = None
    """The complete `_source` with its vectors; only for external versions, where the whole document is written again."""
    vectors: int | None = _NOT_COUNTED
    """The number of vectors that exist; None: a newer version of the document exists, which the feed delivers as well."""

    @property
    def key(self) -> DocumentKey:
        return self.id, self.routing

    @property
    def is_superseded(self) -> bool:
        return self.vectors is None

    @property
    def is_dead_letter(self) -> bool:
        """Whether its present text is marked as a dead letter."""
        return self.stored_state == DEAD_LETTER and self.stored_fingerprint == self.fingerprint

    @property
    def is_current(self) -> bool:
        """Whether the document needs no work. Only vectors that exist prove it."""
        if self.stored_fingerprint != self.fingerprint:
            return False
        if self.stored_state == EMBEDDED:
            return self.expected_vectors > 0 and self.vectors == self.expected_vectors
        if self.stored_state == ADOPTED:
            return bool(self.vectors)
        return self.stored_state in (NO_TEXT, DEAD_LETTER, DROPPED)

    @property
    def keeps_foreign_vector(self) -> bool:
        """Whether another application wrote its adopted vector, and its text did not change after the attachment."""
        if not self.vectors or self.stored_state == EMBEDDED:
            return False
        return self.stored_fingerprint in (None, self.fingerprint) or self.source.is_empty


def find_target(es: Elasticsearch, task: EmbedTask | RangeTask) -> Target | None:
    """None when the task's index was deleted, recreated or detached, or its generation was dropped.

    Raises IndexUnavailable when its attachment was overwritten, or cannot be read: the changes wait for a readable attachment.
    """
    try:
        response = retried(lambda: es.indices.get(index=task.index, features=["mappings", "settings"]))
    except NotFoundError as error:
        if is_missing_index(error):
            return None
        raise IndexUnavailable(f"the mapping of [{task.index}] cannot be read: {error.error}") from error
    return target_in(response.body.get(task.index), task)


def is_missing_index(error: NotFoundError) -> bool:
    """Whether Elasticsearch says that the index does not exist. A proxy can answer 404 as well."""
    return error.error == "index_not_found_exception"


def target_in(body: Mapping[str, Any] | None, task: EmbedTask | RangeTask) -> Target | None:
    """The target in an index's settings and mapping; None and IndexUnavailable as for `find_target`."""
    if body is None or body["settings"]["index"]["uuid"] != task.uuid:
        return None
    try:
        attachment = read_attachment(body["mappings"])
    except InvalidRequest as error:
        raise IndexUnavailable(f"the attachment of [{task.index}] cannot be read: {error.reason}") from error
    is_damaged = attachment is not None and attachment.active not in attachment.generations
    if is_damaged or has_lost_attachment(body["mappings"]):
        raise IndexUnavailable(
            f"[{task.index}] has lost its attachment: another client has overwritten [_meta] in its mapping. "
            f"`esblend attach {task.index} --restore` restores it, `esblend detach {task.index}` detaches the index"
        )
    if attachment is None or task.generation not in attachment.generations:
        return None
    settings = body["settings"]["index"]
    nested = (settings.get("mapping") or {}).get("nested_objects") or {}
    return Target(
        task.index,
        task.uuid,
        attachment.using(task.generation),
        task.generation,
        int(nested.get("limit", _NESTED_LIMIT)),
        int(settings.get("max_result_window", _RESULT_WINDOW)),
        settings.get("refresh_interval", "1s") == "1s",
    )


def read_documents(es: Elasticsearch, target: Target, references: Sequence[DocumentRef]) -> list[Document]:
    """The existing documents among `references`, each once. Raises IndexUnavailable when they cannot be read now."""
    wanted = sorted({(reference.id, reference.routing) for reference in references}, key=str)
    documents = [document_from(response, target) for response in _get(es, target, wanted)]
    is_adopted = target.generation.adopted is not None
    counted = [document for document in documents if is_adopted or _claims_vectors(document)]
    is_counted = set(counted)
    counts: dict[DocumentKey, tuple[int, int]] = {}
    for start in range(0, len(counted), target.result_window):
        counts |= _count_vectors(es, target, counted[start : start + target.result_window])
    return [_with_count(document, counts) if document in is_counted else document for document in documents]


def _claims_vectors(document: Document) -> bool:
    return document.stored_fingerprint == document.fingerprint and document.stored_state == EMBEDDED


def _with_count(document: Document, counts: dict[DocumentKey, tuple[int, int]]) -> Document:
    seq_no, count = counts.get(document.key, (_NOT_COUNTED, 0))
    return replace(document, vectors=count if seq_no == document.seq_no else None)


def _count_vectors(
    es: Elasticsearch, target: Target, documents: Sequence[Document]
) -> dict[DocumentKey, tuple[int, int]]:
    """For each document that searches see in the version that was read, by id and routing: sequence number, number of vectors.

    The feed refreshes the index before it sends changes, so a version that no search sees yet is newer than the change.
    """
    ids = {"ids": {"values": sorted({document.id for document in documents})}}
    versions = {"terms": {"_seq_no": [document.seq_no for document in documents]}}
    response = retried(
        lambda: es.search(
            index=target.index,
            query={"bool": {"filter": [ids, versions], "should": [vector_count(target.attachment)]}},
            size=min(target.result_window, 2 * len(documents)),
            source=False,
            seq_no_primary_term=True,
            track_total_hits=False,
            allow_partial_search_results=False,
        )
    )
    return {
        (hit["_id"], hit.get("_routing")): (hit["_seq_no"], round(hit["_score"] or 0))
        for hit in response["hits"]["hits"]
    }


def _get(es: Elasticsearch, target: Target, wanted: list[DocumentKey]) -> list[dict[str, Any]]:
    read: dict[str, Any] = {}
    parameters = {}
    if target.attachment.versioning == "internal":
        # In the body: in the URL, a comma in a field's name splits it, and long names exceed Elasticsearch's 4 KiB.
        read = {"_source": {"includes": stored_paths(target)}}
    elif keeps_vectors_back(es):
        parameters = {"_source_exclude_vectors": "false"}
    items = [{"_id": id_, **({"routing": routing} if routing is not None else {}), **read} for id_, routing in wanted]
    try:
        response = retried(
            lambda: es.perform_request(
                "POST",
                f"/{quote(target.index, safe='')}/_mget",
                params=parameters,
                body={"docs": items},
                headers=_JSON,
                endpoint_id="mget",
            ),
            is_final=is_too_large,
        )
    except (ApiError, ConnectionTimeout) as error:
        if not is_too_large(error) or len(wanted) == 1:
            raise
        # A single document may be as large as a whole request, so fewer documents are read at a time.
        middle = len(wanted) // 2
        return _get(es, target, wanted[:middle]) + _get(es, target, wanted[middle:])
    return existing(response.body["docs"], target.index)


def stored_paths(target: Target) -> list[str]:
    """The paths in `_source` that show a document's text, and what its generation holds beside the vectors."""
    root = f"{target.attachment.field}.{target.name}"
    return [
        *target.attachment.source_fields,
        *(f"{root}.{name}" for name in ("fingerprint", "state", "passages.start")),
    ]


def is_too_large(error: Exception) -> bool:
    """Whether a request failed because it asked for too much at once."""
    if isinstance(error, ApiError):
        causes = {error.error, *_root_causes(error)}
        return "circuit_breaking_exception" in causes or error.meta.status == 413
    return isinstance(error, ConnectionTimeout)


def _root_causes(error: ApiError) -> list[str]:
    """The types of the errors of single shards in a search."""
    described = error.body.get("error") if isinstance(error.body, dict) else None
    causes = described.get("root_cause") if isinstance(described, dict) else None
    return [str(cause.get("type")) for cause in causes or []]


def document_from(item: dict[str, Any], target: Target, vectors: int = _NOT_COUNTED) -> Document:
    """The document in a hit of a search or an item of an `_mget`; `vectors`: their number, where it is known."""
    source = item.get("_source") or {}
    fields = target.attachment.source_fields
    stored = generation_object(source, target.attachment.field, target.name)
    return Document(
        id=item["_id"],
        routing=item.get("_routing"),
        seq_no=item["_seq_no"],
        primary_term=item["_primary_term"],
        version=item["_version"],
        source=source_text(source, fields),
        fingerprint=fingerprint(source, fields, target.generation),
        stored_fingerprint=stored.get("fingerprint"),
        stored_state=stored.get("state"),
        expected_vectors=expected_vectors(stored, target.attachment),
        can_be_guarded=not target.attachment.guard or can_be_guarded(source, fields),
        whole=source if target.attachment.versioning == "external" else None,
        vectors=vectors,
    )
