"""Finds indices and their attachments in Elasticsearch. Everything here only reads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch, NotFoundError

from esblend.elasticsearch_connection import error_body
from esblend.errors import IndexNotFound, InvalidRequest, NotAttached
from mappings.attachment import META_KEY, Attachment, is_attached, read_attachment
from mappings.builder import has_lost_attachment
from mappings.fields import TEXT_TYPES


@dataclass(frozen=True)
class AttachedIndex:
    """An attached index with its mapping."""

    index: str
    mapping: dict[str, Any]
    attachment: Attachment


@dataclass(frozen=True)
class IndexView:
    """The facts about an index that a search needs: its attachment, if any, and the search analyzer of each text field."""

    attachment: Attachment | None
    analyzers: dict[str, str]
    uuid: str = ""
    fields: frozenset[str] = frozenset()
    """The names of all fields that a query can search, with their multi-fields: no objects, and no fields of nested objects."""
    is_closed: bool = False
    shards: int = 1
    can_search_numbers: bool = True
    """Whether `_seq_no` identifies a document of a shard, and a search by it reads an index. Documents of a shrunk index share
    numbers. In index modes such as `logsdb`, `_seq_no` is a doc value only, so that each search by it reads every document."""


async def find_indices(es: AsyncElasticsearch, name: str) -> dict[str, dict[str, Any]]:
    """The mappings of all concrete indices behind `name` (an index, alias or data stream).

    Raises IndexNotFound, or InvalidRequest on a wildcard or list.
    """
    if not name or any(sign in name for sign in "*?,<>") or name.startswith(("_", "-")):
        raise InvalidRequest(
            f"[{name}] does not name one index, alias or data stream: wildcards and lists are rejected"
        )
    try:
        response = await es.indices.get_mapping(index=name)
    except NotFoundError as error:
        raise IndexNotFound(f"no such index [{name}]: create it first, then attach it") from error
    return {index: dict(body["mappings"]) for index, body in response.items()}


async def find_index(es: AsyncElasticsearch, name: str) -> tuple[str, dict[str, Any]]:
    """The one concrete index behind `name` (an index or alias), and its mapping.

    Raises IndexNotFound, or InvalidRequest when there are several.
    """
    mappings = await find_indices(es, name)
    if len(mappings) != 1:
        raise InvalidRequest(f"[{name}] is {len(mappings)} indices ({', '.join(sorted(mappings))}): name one of them")
    [(index, mapping)] = mappings.items()
    return index, mapping


async def find_attached(es: AsyncElasticsearch, name: str) -> AttachedIndex:
    """Raises IndexNotFound, NotAttached, or InvalidRequest when `name` is several indices."""
    index, mapping = await find_index(es, name)
    attachment = read_attachment(mapping)
    if attachment is None:
        raise lost_attachment(index) if has_lost_attachment(mapping) else not_attached(index)
    return AttachedIndex(index, mapping, attachment)


def not_attached(*indices: str) -> NotAttached:
    """The error for indices without an attachment; names the request or command that attaches the first."""
    names = ", ".join(indices[:5])
    return NotAttached(
        f"index [{names}] is not attached: PUT /_esblend/indices/{indices[0]} attaches it",
        command_line=f"index [{names}] is not attached: esblend attach {indices[0]} --fields ... attaches it",
    )


def lost_attachment(index: str) -> NotAttached:
    """The error for an index whose attachment another client overwrote."""
    problem = f"index [{index}] has lost its attachment: another client has overwritten [_meta] in its mapping"
    return NotAttached(
        f"{problem}. POST /_esblend/indices/{index}/_restore restores it, DELETE /_esblend/indices/{index} detaches the index",
        command_line=f"{problem}. esblend attach {index} --restore restores it, esblend detach {index} detaches the index",
    )


ATTACHABLE_INDICES = "*,-.*,.ds-*,-.ds-.*"
"""All indices and the backing indices of data streams, without system indices: these cannot be attached, and Elasticsearch answers
access to them with deprecation warnings."""


async def read_attachments(es: AsyncElasticsearch) -> dict[str, Attachment | None]:
    """Every attached index of the cluster; None for an attachment that this version cannot read."""
    response = await es.indices.get_mapping(
        index=ATTACHABLE_INDICES,
        expand_wildcards=["open", "closed", "hidden"],
        filter_path=f"*.mappings._meta.{META_KEY}",
    )
    mappings = {index: body["mappings"] for index, body in response.items()}
    return {index: readable_attachment(mapping) for index, mapping in mappings.items() if is_attached(mapping)}


_VIEWED_SETTINGS = ("uuid", "verified_before_close", "number_of_shards", "resize", "mode", "seq_no")
_VIEWED = ",".join(
    (
        "*.mappings",
        *(f"*.settings.index.{name}" for name in _VIEWED_SETTINGS),
    )
)


async def view_indices(es: AsyncElasticsearch, target: str, **options: Any) -> dict[str, IndexView]:
    """Each index that a search target resolves to, by the URL parameters in `options`. Raises IndexNotFound."""
    try:
        response = await es.indices.get(index=target, filter_path=_VIEWED, **options)
    except NotFoundError as error:
        details = error_body(error).get("error")
        missing = details.get("index", target) if isinstance(details, dict) else target
        raise IndexNotFound(f"no such index [{missing}]", index=missing) from error
    return {index: _view(body) for index, body in response.items()}


def _view(body: Mapping[str, Any]) -> IndexView:
    mapping = body.get("mappings") or {}  # `filter_path` leaves out an empty one
    properties = {**(mapping.get("runtime") or {}), **(mapping.get("properties") or {})}
    settings = body["settings"]["index"]
    return IndexView(
        read_attachment(mapping),
        _analyzers(properties),
        settings["uuid"],
        frozenset(_names(properties)),
        "verified_before_close" in settings,
        int(settings["number_of_shards"]),
        "resize" not in settings and "seq_no" not in settings and settings.get("mode", "standard") == "standard",
    )


def readable_attachment(mapping: dict[str, Any]) -> Attachment | None:
    """The attachment in a mapping; None also when this version cannot read it."""
    try:
        return read_attachment(mapping)
    except InvalidRequest:
        return None


def _analyzers(properties: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    analyzers: dict[str, str] = {}
    for name, field in properties.items():
        if field.get("type") in TEXT_TYPES:
            analyzers[prefix + name] = field.get("search_analyzer", field.get("analyzer", "default"))
        elif "properties" in field and field.get("type") != "nested":
            analyzers |= _analyzers(field["properties"], f"{prefix}{name}.")
    return analyzers


def _names(properties: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, field in properties.items():
        kind = field.get("type", "object" if "properties" in field else None)
        if kind == "nested":
            continue
        if kind not in (None, "object"):
            yield prefix + name
        for inside in ("properties", "fields"):
            yield from _names(field.get(inside) or {}, f"{prefix}{name}.")
