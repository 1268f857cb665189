"""Attaches indices, changes their settings, and detaches them.

An attach call checks everything first; then one mapping update attaches the index.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch
from pydantic import ValidationError

from esblend.errors import AlreadyAttached, InvalidRequest
from mappings.attachment import (
    META_KEY,
    Attachment,
    BackfillControl,
    Generation,
    QueryDefaults,
    describe_validation,
    read_attachment,
)
from mappings.builder import mapping_additions
from mappings.capabilities import check_capabilities
from mappings.fields import adopted_field, check_searched_field, check_text_fields
from mappings.guard import check_guard, install_guard, read_final_pipeline, remove_guard
from mappings.index_lookup import (
    AttachedIndex,
    find_attached,
    find_index,
    find_indices,
    not_attached,
    readable_attachment,
)
from mappings.new_generation import Models, make_generation
from mappings.requests import AttachRequest

DEFAULT_FIELD = "esblend"


@dataclass(frozen=True)
class Attached:
    """The result of an attach call for one index; with `dry_run`, the planned result."""

    index: str
    attachment: Attachment
    changed: bool
    additions: dict[str, Any]


async def attach(
    es: AsyncElasticsearch, name: str, request: AttachRequest, models: Models, *, dry_run: bool = False
) -> list[Attached]:
    """Attach an index, or all indices of an alias or data stream. Repeating the same call changes nothing.

    All indices are checked before the first is changed. Raises IndexNotFound, InvalidRequest (unknown field, no text field,
    dimensions that differ, a setting that this server or index does not support) or AlreadyAttached.
    """
    mappings = await find_indices(es, name)
    planned = [await _plan(es, index, mapping, request, models) for index, mapping in sorted(mappings.items())]
    for plan in planned if not dry_run else []:
        if plan.changed:
            await _put(es, plan.index, mappings[plan.index], plan.attachment, plan.additions)
    return planned


async def control_backfill(es: AsyncElasticsearch, name: str, changes: dict[str, Any]) -> tuple[str, BackfillControl]:
    """Pause, resume or slow down a backfill: (concrete index, the new control). The feed follows it within seconds.

    Raises IndexNotFound, NotAttached, or InvalidRequest on an unknown or wrong key.
    """
    attached = await find_attached(es, name)
    present = attached.attachment.backfill
    try:
        control = BackfillControl.model_validate(present.model_dump() | changes)
    except ValidationError as error:
        raise InvalidRequest(describe_validation(error)) from error
    if control != present:
        await _rewrite(es, attached, attached.attachment.model_copy(update={"backfill": control}))
    return attached.index, control


async def set_defaults(es: AsyncElasticsearch, name: str, defaults: QueryDefaults) -> tuple[str, Attachment]:
    """Replace the query defaults: (concrete index, attachment).

    Raises IndexNotFound, NotAttached, or InvalidRequest on a field that is not a text field.
    """
    attached = await find_attached(es, name)
    for field in defaults.fields or ():
        check_searched_field(attached.index, attached.mapping.get("properties") or {}, field)
    changed = attached.attachment.model_copy(update={"defaults": defaults})
    await _rewrite(es, attached, changed)
    return attached.index, changed


async def detach(es: AsyncElasticsearch, name: str) -> str:
    """Remove the attachment; gives the concrete index. Elasticsearch never removes fields from a mapping, so the vectors
    remain in the documents.

    Raises IndexNotFound or NotAttached.
    """
    index, mapping = await find_index(es, name)
    meta = dict(mapping.get("_meta") or {})
    if meta.pop(META_KEY, None) is None:
        raise not_attached(index)
    attachment = readable_attachment(mapping)
    if attachment is not None and attachment.guard:
        await remove_guard(es, index, attachment)
    await es.indices.put_mapping(index=index, meta=meta)
    return index


def choose_field(properties: Mapping[str, Any]) -> tuple[str, int]:
    """The object field to use and the number of the next generation in it.

    `esblend`, unless the index already uses that name; the field of an earlier attachment is used again.
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


async def _plan(
    es: AsyncElasticsearch, index: str, mapping: dict[str, Any], request: AttachRequest, models: Models
) -> Attached:
    properties = mapping.get("properties") or {}
    check_text_fields(index, properties, request)
    generation = make_generation(request, models, adopted_field(index, properties, request.adopt))
    present = read_attachment(mapping)
    if present is not None:
        _reject_other_settings(index, present, request, generation)
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
    await check_capabilities(es, AttachedIndex(index, mapping, attachment), generation, additions)
    return Attached(index, attachment, changed=True, additions=additions)


async def _put(
    es: AsyncElasticsearch, index: str, mapping: dict[str, Any], attachment: Attachment, additions: dict[str, Any]
) -> None:
    meta = {**(mapping.get("_meta") or {}), META_KEY: attachment.to_meta()}
    if not attachment.guard:
        await es.indices.put_mapping(index=index, properties=additions, meta=meta)
        return
    # The guard has no effect before the first vector exists, so it is installed first and removed if the rest fails.
    await install_guard(es, index, attachment)
    try:
        await es.indices.put_mapping(index=index, properties=additions, meta=meta)
    except Exception:
        await remove_guard(es, index, attachment)
        raise


async def _rewrite(es: AsyncElasticsearch, attached: AttachedIndex, changed: Attachment) -> None:
    meta = {**attached.mapping["_meta"], META_KEY: changed.to_meta()}
    await es.indices.put_mapping(index=attached.index, meta=meta)


def _reject_other_settings(index: str, present: Attachment, request: AttachRequest, generation: Generation) -> None:
    differences = [
        name
        for name, current, requested in (
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
        if current != requested
    ]
    if differences:
        problem = f"index [{index}] is already attached with other settings ({', '.join(differences)})"
        raise AlreadyAttached(
            f"{problem}: GET /_esblend/indices/{index} shows them; DELETE that path before you attach the index again",
            command_line=f"{problem}: esblend detach {index} first, then attach it again",
        )
