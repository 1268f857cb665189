"""Attaches indices and detaches them. Everything is checked first; then one mapping update does it, or nothing is done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch, NotFoundError
from pydantic import ValidationError

from esblend.errors import AlreadyAttached, IndexNotFound, InvalidRequest, NotAttached
from mappings.attachment import (
    META_KEY,
    Attachment,
    AttachRequest,
    BackfillControl,
    Generation,
    QueryDefaults,
    describe_validation,
    is_attached,
    read_attachment,
)
from mappings.builder import mapping_additions
from mappings.capabilities import check_capabilities
from mappings.fields import TEXT_TYPES, adopted_field, check_text_field, check_text_fields
from mappings.generation import Models, make_generation
from mappings.guard import check_guard, install_guard, read_final_pipeline, remove_guard

DEFAULT_FIELD = "esblend"


@dataclass(frozen=True)
class Attached:
    """What an attach call did, or with `dry_run` would do."""

    index: str
    attachment: Attachment
    changed: bool
    additions: dict[str, Any]


async def find_indices(es: AsyncElasticsearch, name: str) -> dict[str, dict[str, Any]]:
    """The concrete indices that `name` (an index, alias or data stream) stands for, each with its mapping.

    Raises IndexNotFound, or InvalidRequest on a wildcard or list.
    """
    if not name or any(sign in name for sign in "*?,<>") or name.startswith(("_", "-")):
        raise InvalidRequest(f"[{name}] is no name of one index: wildcards and lists cannot be attached")
    try:
        found = await es.indices.get_mapping(index=name)
    except NotFoundError as error:
        raise IndexNotFound(f"no such index [{name}]: create it first, then attach it") from error
    return {index: dict(body["mappings"]) for index, body in found.items()}


async def find_index(es: AsyncElasticsearch, name: str) -> tuple[str, dict[str, Any]]:
    """The one concrete index that `name` (an index or alias) stands for, and its mapping.

    Raises IndexNotFound, or InvalidRequest when there are several.
    """
    found = await find_indices(es, name)
    if len(found) != 1:
        raise InvalidRequest(f"[{name}] stands for {len(found)} indices ({', '.join(sorted(found))}): name one of them")
    [(index, mapping)] = found.items()
    return index, mapping


async def show(es: AsyncElasticsearch, name: str) -> tuple[str, Attachment]:
    """(concrete index, attachment). Raises IndexNotFound or NotAttached."""
    index, mapping = await find_index(es, name)
    attachment = read_attachment(mapping)
    if attachment is None:
        raise NotAttached(f"index [{index}] is not attached: PUT /_esblend/indices/{index} attaches it")
    return index, attachment


async def attach(
    es: AsyncElasticsearch,
    name: str,
    request: AttachRequest,
    models: Models,
    *,
    dry_run: bool = False,
) -> list[Attached]:
    """Attach an index, or all that an alias or data stream stands for. The same call again changes nothing.

    All are checked before the first is changed. Raises IndexNotFound, InvalidRequest (unknown field, no text, widths that
    differ, something that this server or index cannot do) or AlreadyAttached.
    """
    found = await find_indices(es, name)
    planned = [await _plan(es, index, mapping, request, models) for index, mapping in sorted(found.items())]
    for one in planned if not dry_run else []:
        if one.changed:
            await _put(es, one.index, found[one.index], one.attachment, one.additions)
    return planned


async def _plan(
    es: AsyncElasticsearch, index: str, mapping: dict[str, Any], request: AttachRequest, models: Models
) -> Attached:
    properties = mapping.get("properties") or {}
    check_text_fields(index, properties, request)
    generation = make_generation(request, models, adopted_field(index, properties, request.adopt))
    present = read_attachment(mapping)
    if present is not None:
        _refuse_other_settings(index, present, request, generation)
        return Attached(index, present, changed=False, additions={})
    if request.guard:
        await check_guard(es)
    field, number = choose_field(properties)
    attachment = Attachment(
        field=field,
        source_fields=request.source_fields,
        active=f"g{number}",
        generations={f"g{number}": generation},
        guard=request.guard,
        final_pipeline_before=await read_final_pipeline(es, index) if request.guard else None,
        versioning=request.versioning,
        defaults=request.defaults,
    )
    additions = mapping_additions(attachment)
    await check_capabilities(es, index, mapping, generation, additions)
    return Attached(index, attachment, changed=True, additions=additions)


async def _put(
    es: AsyncElasticsearch, index: str, mapping: dict[str, Any], attachment: Attachment, additions: dict[str, Any]
) -> None:
    meta = {**(mapping.get("_meta") or {}), META_KEY: attachment.to_meta()}
    if not attachment.guard:
        await es.indices.put_mapping(index=index, properties=additions, meta=meta)
        return
    # Before there is a vector the guard has nothing to do, so it comes first and goes again when the rest fails.
    await install_guard(es, index, attachment)
    try:
        await es.indices.put_mapping(index=index, properties=additions, meta=meta)
    except Exception:
        await remove_guard(es, index, attachment)
        raise


async def control_backfill(es: AsyncElasticsearch, name: str, changes: dict[str, Any]) -> tuple[str, BackfillControl]:
    """Pause, resume or slow down a backfill: (concrete index, what holds now). The feed heeds it within seconds.

    Raises IndexNotFound, NotAttached, or InvalidRequest on an unknown or wrong key.
    """
    index, mapping = await find_index(es, name)
    attachment = read_attachment(mapping)
    if attachment is None:
        raise NotAttached(f"index [{index}] is not attached")
    try:
        control = BackfillControl.model_validate(attachment.backfill.model_dump() | changes)
    except ValidationError as error:
        raise InvalidRequest(describe_validation(error)) from error
    if control != attachment.backfill:
        changed = attachment.model_copy(update={"backfill": control})
        await es.indices.put_mapping(index=index, meta={**mapping["_meta"], META_KEY: changed.to_meta()})
    return index, control


async def set_defaults(es: AsyncElasticsearch, name: str, defaults: QueryDefaults) -> tuple[str, Attachment]:
    """Put other query defaults in the place of those that are there: (concrete index, attachment).

    Raises IndexNotFound, NotAttached, or InvalidRequest on a field that is no text.
    """
    index, mapping = await find_index(es, name)
    attachment = read_attachment(mapping)
    if attachment is None:
        raise NotAttached(f"index [{index}] is not attached")
    for field in defaults.fields or ():
        check_text_field(index, mapping.get("properties") or {}, field.partition("^")[0])
    changed = attachment.model_copy(update={"defaults": defaults})
    await es.indices.put_mapping(index=index, meta={**mapping["_meta"], META_KEY: changed.to_meta()})
    return index, changed


async def detach(es: AsyncElasticsearch, name: str) -> str:
    """Take the attachment off; gives the concrete index. Fields cannot leave a mapping, so the vectors stay in the documents.

    Raises IndexNotFound or NotAttached.
    """
    index, mapping = await find_index(es, name)
    meta = dict(mapping.get("_meta") or {})
    if meta.pop(META_KEY, None) is None:
        raise NotAttached(f"index [{index}] is not attached")
    attachment = _readable(mapping)
    if attachment is not None and attachment.guard:
        await remove_guard(es, index, attachment)
    await es.indices.put_mapping(index=index, meta=meta)
    return index


async def attachments(es: AsyncElasticsearch) -> dict[str, Attachment | None]:
    """Every attached index of the cluster; None for one whose attachment this version cannot read."""
    found = await es.indices.get_mapping(
        index="*", expand_wildcards=["open", "closed", "hidden"], filter_path=f"*.mappings._meta.{META_KEY}"
    )
    mappings = {index: body["mappings"] for index, body in found.items()}
    return {index: _readable(mapping) for index, mapping in mappings.items() if is_attached(mapping)}


@dataclass(frozen=True)
class IndexView:
    """What a search must know of an index: its attachment, if any, and the search analyzer of each of its text fields."""

    attachment: Attachment | None
    analyzers: dict[str, str]


async def view_indices(es: AsyncElasticsearch, target: str, **options: Any) -> dict[str, IndexView]:
    """Each index that a search target stands for; `options` say how it is resolved. Raises IndexNotFound."""
    try:
        found = await es.indices.get_mapping(index=target, **options)
    except NotFoundError as error:
        raise IndexNotFound(f"no such index [{target}]") from error
    return {
        index: IndexView(read_attachment(body["mappings"]), _analyzers(body["mappings"].get("properties") or {}))
        for index, body in found.items()
    }


def _readable(mapping: dict[str, Any]) -> Attachment | None:
    try:
        return read_attachment(mapping)
    except InvalidRequest:
        return None


def _analyzers(properties: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, field in properties.items():
        if field.get("type") in TEXT_TYPES:
            found[prefix + name] = field.get("search_analyzer", field.get("analyzer", "default"))
        elif "properties" in field and field.get("type") != "nested":
            found |= _analyzers(field["properties"], f"{prefix}{name}.")
    return found


def _refuse_other_settings(index: str, present: Attachment, request: AttachRequest, generation: Generation) -> None:
    differences = [
        name
        for name, now, wanted in (
            ("source_fields", present.source_fields, request.source_fields),
            ("model", present.generation.model.digest, generation.model.digest),
            ("query_model", present.generation.searched_by.digest, generation.searched_by.digest),
            ("prompts", present.generation.prompts, generation.prompts),
            ("adopt", present.generation.adopted, generation.adopted),
            ("passages", present.generation.passages, generation.passages),
            ("vector", present.generation.vector, generation.vector),
            ("guard", present.guard, request.guard),
            ("versioning", present.versioning, request.versioning),
            ("defaults", present.defaults, request.defaults),
        )
        if now != wanted
    ]
    if differences:
        raise AlreadyAttached(
            f"index [{index}] is already attached with other settings ({', '.join(differences)}): "
            f"GET /_esblend/indices/{index} shows them; DELETE it first to attach it anew"
        )


def choose_field(properties: Mapping[str, Any]) -> tuple[str, int]:
    """The object field to use and the number of the next generation in it.

    `esblend`, unless the index uses that name for something of its own; what an earlier attachment left is recognised.
    """
    suffix = 0
    while True:
        name = DEFAULT_FIELD if suffix == 0 else f"{DEFAULT_FIELD}_{suffix}"
        inside = (properties.get(name) or {}).get("properties")
        if name not in properties:
            return name, 1
        if inside and all(
            key[:1] == "g" and "fingerprint" in (value.get("properties") or {}) for key, value in inside.items()
        ):
            return name, 1 + max(int(key[1:]) for key in inside)
        suffix += 1
