"""Attaches indices, changes their settings, and detaches them.

An attach call checks everything first; then one mapping update attaches the index.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch, BadRequestError
from pydantic import ValidationError

from esblend.errors import AlreadyAttached, InvalidRequest
from mappings.atomic_changes import atomic, concurrent_change, replace_attachment, replace_settings
from mappings.attachment import (
    META_KEY,
    Attachment,
    BackfillControl,
    Generation,
    QueryDefaults,
    describe_validation,
    is_damaged,
    read_attachment,
)
from mappings.attachment_copies import read_copy
from mappings.builder import (
    detached_marks,
    has_lost_attachment,
    has_same_claim,
    is_claim_conflict,
    mapping_additions,
    merged,
    own_generations,
    second_claim,
)
from mappings.capabilities import check_capabilities, read_settings
from mappings.fields import adopted_field, check_default_fields, check_text_fields
from mappings.guard import check_guard, install_guard, read_final_pipeline, remove_guard
from mappings.index_lookup import (
    AttachedIndex,
    find_attached,
    find_index,
    find_indices,
    not_attached,
    readable_attachment,
)
from mappings.index_state import require_open
from mappings.new_generation import Models, make_generation
from mappings.pipeline_check import check_final_pipeline
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
    dimensions that differ, a setting that this server or index does not support), IndexClosed or AlreadyAttached.
    """
    mappings = await find_indices(es, name)
    planned = [await _plan(es, index, mapping, request, models) for index, mapping in sorted(mappings.items())]
    for plan in planned if not dry_run else []:
        if plan.changed:
            await _put(es, plan, mappings[plan.index])
    return planned


@atomic
async def control_backfill(es: AsyncElasticsearch, name: str, changes: dict[str, Any]) -> tuple[str, BackfillControl]:
    """Pause, resume or slow down a backfill: (concrete index, the new control). The feed follows it within seconds.

    Raises IndexNotFound, NotAttached, IndexClosed, or InvalidRequest on an unknown or wrong key.
    """
    attached = await find_attached(es, name)
    require_open(attached.index, await read_settings(es, attached.index))
    present = attached.attachment.backfill
    try:
        control = BackfillControl.model_validate(present.model_dump() | changes)
    except ValidationError as error:
        raise InvalidRequest(describe_validation(error)) from error
    if control != present:
        await replace_settings(es, attached, attached.attachment.model_copy(update={"backfill": control}))
    return attached.index, control


@atomic
async def set_defaults(es: AsyncElasticsearch, name: str, defaults: QueryDefaults) -> tuple[str, Attachment]:
    """Replace the query defaults: (concrete index, attachment).

    Raises IndexNotFound, NotAttached, or InvalidRequest on a field that is not a text field.
    """
    attached = await find_attached(es, name)
    check_default_fields(attached.index, attached.mapping.get("properties") or {}, defaults)
    changed = attached.attachment.model_copy(update={"defaults": defaults})
    await replace_settings(es, attached, changed)
    return attached.index, changed


@atomic
async def detach(es: AsyncElasticsearch, name: str) -> str:
    """Remove the attachment; gives the concrete index. Elasticsearch never removes fields from a mapping, so the vectors
    remain in the documents.

    An index whose attachment was overwritten is detached too: its guard is removed. Raises IndexNotFound or NotAttached.
    """
    index, mapping = await find_index(es, name)
    meta = dict(mapping.get("_meta") or {})
    if meta.pop(META_KEY, None) is None and not has_lost_attachment(mapping):
        raise not_attached(index)
    await remove_guard(es, index)
    marks = detached_marks(mapping.get("properties") or {})
    attachment = readable_attachment(mapping)
    if attachment is None:
        await es.indices.put_mapping(index=index, meta=meta, properties=marks)
    else:
        await replace_attachment(es, AttachedIndex(index, mapping, attachment), None, marks)
    return index


@atomic
async def restore(es: AsyncElasticsearch, own_es: AsyncElasticsearch, name: str) -> Attached:
    """Write an overwritten attachment back, and install its guard again. Nothing is embedded again.

    `own_es`: reads esblend's copy of the attachment. Raises IndexNotFound, NotAttached when there is no copy, InvalidRequest when
    the attachment or its copy is of a newer version, or ConcurrentChange.
    """
    index, mapping = await find_index(es, name)
    present = attachment = readable_attachment(mapping)
    if attachment is None and (is_damaged(mapping) or has_lost_attachment(mapping)):
        settings = await read_settings(es, index)
        attachment = await read_copy(own_es, settings["index.uuid"])
    if attachment is None:
        read_attachment(mapping)  # raises for an attachment that this version cannot read
        raise not_attached(index)
    if attachment.guard:
        own_pipeline = await read_final_pipeline(es, index) or attachment.final_pipeline_before
        attachment = attachment.model_copy(update={"final_pipeline_before": own_pipeline})
    additions = second_claim(attachment, mapping)
    if present is not None and attachment != present:
        await replace_attachment(es, AttachedIndex(index, mapping, present), attachment, additions)
    elif attachment != present:
        meta = {**(mapping.get("_meta") or {}), META_KEY: attachment.to_meta()}
        await _put_claimed(es, index, meta, additions)
    if attachment.guard:  # after the claim, so that a rejected call changes no pipeline
        await install_guard(es, index, attachment)
    return Attached(index, attachment, changed=attachment != present, additions=additions)


def choose_field(properties: Mapping[str, Any]) -> tuple[str, int]:
    """The object field to use and the number of the next generation in it.

    `esblend`, unless the index already uses that name; the field of an earlier attachment is used again.
    """
    suffix = 0
    while True:
        name = DEFAULT_FIELD if suffix == 0 else f"{DEFAULT_FIELD}_{suffix}"
        if name not in properties:
            return name, 1
        generations = own_generations(properties[name])
        if generations:
            return name, 1 + max(int(key[1:]) for key in generations)
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
    require_open(index, await read_settings(es, index))
    own_pipeline = await read_final_pipeline(es, index) if request.guard or request.versioning == "external" else None
    if request.guard:
        await check_guard(es)
    field, number = choose_field(properties)

    def with_generation(name: str) -> Attachment:
        return Attachment(
            field=field,
            source_fields=request.source_fields,
            active=name,
            generations={name: generation},
            guard=request.guard,
            final_pipeline_before=own_pipeline if request.guard else None,
            versioning=request.versioning,
            defaults=request.defaults,
        )

    attachment = with_generation(f"g{number}")
    additions = mapping_additions(attachment)
    if has_same_claim(last := with_generation(f"g{number - 1}"), mapping):
        # Another client has overwritten `_meta`, and the same attach call is repeated: the vectors are still there.
        attachment, additions = last, {}
    additions = merged(additions, second_claim(attachment, mapping))
    await check_capabilities(es, AttachedIndex(index, mapping, attachment), generation, additions)
    if request.versioning == "external":
        await check_final_pipeline(es, index, own_pipeline, request.source_fields)
    return Attached(index, attachment, changed=True, additions=additions)


async def _put(es: AsyncElasticsearch, planned: Attached, mapping: dict[str, Any]) -> None:
    """Write a new attachment. Raises ConcurrentChange when another call with other settings was first."""
    index, attachment = planned.index, planned.attachment
    meta = {**(mapping.get("_meta") or {}), META_KEY: attachment.to_meta()}
    await _put_claimed(es, index, meta, planned.additions)
    if attachment.guard:
        # After the claim, so that a rejected call changes no pipeline. The first vector is written later than this.
        try:
            await install_guard(es, index, attachment)
        except Exception:
            await detach(es, index)
            raise


async def _put_claimed(es: AsyncElasticsearch, index: str, meta: dict[str, Any], additions: dict[str, Any]) -> None:
    """Add a generation that no other call has claimed. Raises ConcurrentChange when one has."""
    try:
        await es.indices.put_mapping(index=index, meta=meta, properties=additions)
    except BadRequestError as error:
        if is_claim_conflict(str(error)):
            raise concurrent_change(index) from error
        raise


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
