"""Generations: an index gets a new model or passage setting beside the old one, then searches switch, then the old one is dropped.

add -> the feed embeds every document for it -> activate (one change of `_meta`) -> drop the other
                                                     \\-> activate the other again: a roll-back
"""

from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch

from esblend.errors import InvalidRequest
from mappings.atomic_changes import atomic, replace_attachment
from mappings.attachment import Attachment
from mappings.builder import claimed_generation_mapping
from mappings.capabilities import check_capabilities, read_settings
from mappings.coverage import is_processed
from mappings.guard import guard_pipeline, pipeline_name
from mappings.index_lookup import AttachedIndex, find_attached
from mappings.index_state import require_open, result_window
from mappings.new_generation import Models, make_generation
from mappings.requests import AttachRequest, GenerationRequest

_PAGE = 1000
MAX_GENERATIONS = 2
"""Per index: the one that searches use, and one that is being added or dropped."""


@dataclass(frozen=True)
class ChangedGeneration:
    """The generation that a request named; `changed` is False if the index already was as requested."""

    index: str
    name: str
    attachment: Attachment
    changed: bool


def requested_model(request: GenerationRequest, attachment: Attachment) -> str:
    """The model that the new generation embeds documents with."""
    return request.model or attachment.generation.model.name


@atomic
async def add_generation(
    es: AsyncElasticsearch, name: str, request: GenerationRequest, models: Models
) -> ChangedGeneration:
    """Add a generation beside the active one, which searches continue to use. Repeating the same call changes nothing.

    Raises IndexNotFound, NotAttached, or InvalidRequest (settings that do not fit, a third generation, a limit of the index).
    """
    attached = await find_attached(es, name)
    attachment = attached.attachment
    generation = make_generation(_as_attach_request(request, attachment), models)
    for existing, present in attachment.generations.items():
        if present == generation:
            return ChangedGeneration(attached.index, existing, attachment, changed=False)
    if len(attachment.generations) >= MAX_GENERATIONS:
        [other] = (name for name in attachment.generations if name != attachment.active)
        raise InvalidRequest(
            f"index [{attached.index}] already has another generation, [{other}]: "
            f"DELETE /_esblend/indices/{attached.index}/generations/{other} drops it",
            command_line=f"index [{attached.index}] already has another generation, [{other}]: "
            f"esblend migrate {attached.index} --drop-old drops it",
        )
    new = f"g{_next_number(attached)}"
    changed = attachment.model_copy(update={"generations": {**attachment.generations, new: generation}})
    additions = {
        attachment.field: {
            "type": "object",
            "dynamic": False,
            "properties": {new: claimed_generation_mapping(changed, new)},
        }
    }
    planned = AttachedIndex(attached.index, attached.mapping, changed.using(new))
    await check_capabilities(es, planned, generation, additions)
    await _write_guard(es, attached.index, changed)
    await replace_attachment(es, attached, changed, additions)
    return ChangedGeneration(attached.index, new, changed, changed=True)


@atomic
async def activate(es: AsyncElasticsearch, name: str, generation: str, *, force: bool = False) -> ChangedGeneration:
    """Switch searches to another generation: one change of `_meta`, which every gateway sees within two seconds.

    Raises IndexNotFound, NotAttached, IndexClosed, or InvalidRequest when there is no such generation, or documents have no vectors
    of it (unless `force`).
    """
    attached = await find_attached(es, name)
    changed = attached.attachment.using(generation)
    if changed is attached.attachment:
        return ChangedGeneration(attached.index, generation, changed, changed=False)
    require_open(attached.index, await read_settings(es, attached.index))
    missing = await count_missing(es, attached.index, changed)
    if missing and not force:
        raise InvalidRequest(
            f"{missing} documents of [{attached.index}] have no vectors of generation [{generation}] yet: wait for them, "
            "or repeat the request with [force=true]"
        )
    await _write(es, attached, changed)
    return ChangedGeneration(attached.index, generation, changed, changed=True)


@atomic
async def drop(es: AsyncElasticsearch, name: str, generation: str) -> tuple[str, str | None]:
    """Drop a generation that is not active: (index, the task that removes its vectors from the documents).

    With external versioning only the application may raise a version, so the vectors remain until the next write of each
    document, and there is no task. Raises IndexNotFound, NotAttached, IndexClosed, or InvalidRequest.
    """
    attached = await find_attached(es, name)
    attachment = attached.attachment
    if generation == attachment.active:
        raise InvalidRequest(f"generation [{generation}] is active: activate another one first")
    settings = await read_settings(es, attached.index)
    require_open(attached.index, settings)
    if generation in attachment.generations:
        remaining = {key: value for key, value in attachment.generations.items() if key != generation}
        changed = attachment.model_copy(update={"generations": remaining})
        await replace_attachment(es, attached, changed)
        await _write_guard(es, attached.index, changed)  # not before: a drop that is rejected changes no pipeline
    if attachment.versioning == "external":
        return attached.index, None
    field = attachment.field
    script = "if (ctx._source[params.field] instanceof Map) { ctx._source[params.field].remove(params.generation) }"
    task = await es.update_by_query(
        index=attached.index,
        query={"exists": {"field": f"{field}.{generation}.fingerprint"}},
        script={"lang": "painless", "source": script, "params": {"field": field, "generation": generation}},
        conflicts="proceed",
        scroll_size=min(_PAGE, result_window(settings)),
        wait_for_completion=False,
        refresh=True,
    )
    return attached.index, str(task["task"])


async def describe(es: AsyncElasticsearch, name: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """(index, for each generation the numbers of documents with and without it)."""
    attached = await find_attached(es, name)
    index, attachment = attached.index, attached.attachment
    require_open(index, await read_settings(es, index))
    await es.indices.refresh(index=index)
    total = (await es.count(index=index))["count"]
    described = {}
    for generation, settings in attachment.generations.items():
        missing = await count_missing(es, index, attachment.using(generation))
        described[generation] = {
            "active": generation == attachment.active, "model": settings.model.name, "dims": settings.model.dims,
            "documents": total - missing, "missing": missing,
        }  # fmt: skip
    return index, described


async def count_missing(es: AsyncElasticsearch, index: str, attachment: Attachment) -> int:
    """Documents that the active generation of `attachment` has not processed, or whose vectors are gone."""
    await es.indices.refresh(index=index)
    return int((await es.count(index=index, query={"bool": {"must_not": [is_processed(attachment)]}}))["count"])


def _as_attach_request(request: GenerationRequest, attachment: Attachment) -> AttachRequest:
    """Missing keys are taken from the active generation, except for those that depend on the model if that changes."""
    present = attachment.generation
    is_same_model = request.model in (None, present.model.name) and present.adopted is None
    vector = present.vector.model_dump(include=None if is_same_model else _OF_ANY_MODEL, exclude_none=True)
    if is_same_model:
        vector["dims"] = present.model.dims
    passages = present.passages.model_dump(include=None if is_same_model else {"splitter"})
    prompts = present.prompts.model_dump() if is_same_model else {}
    return AttachRequest.model_validate(
        {
            "source_fields": attachment.source_fields,
            "vector": request.vector.model_dump(exclude_unset=True) if request.vector else vector,
            "passages": request.passages.model_dump(exclude_unset=True) if request.passages else passages,
            "prompts": request.prompts.model_dump() if request.prompts else prompts,
        }
    )


_OF_ANY_MODEL = {"type", "m", "ef_construction", "element_type", "layout", "oversample"}


def _next_number(attached: AttachedIndex) -> int:
    """The mapping keeps the fields of dropped generations, so their names are not used again."""
    inside = attached.mapping.get("properties", {}).get(attached.attachment.field, {}).get("properties", {})
    return 1 + max(int(name[1:]) for name in {*inside, *attached.attachment.generations})


async def _write(es: AsyncElasticsearch, attached: AttachedIndex, changed: Attachment) -> None:
    await _write_guard(es, attached.index, changed)
    await replace_attachment(es, attached, changed)


async def _write_guard(es: AsyncElasticsearch, index: str, attachment: Attachment) -> None:
    """The pipeline must know a generation before the first vector of it is written."""
    if attachment.guard:
        await es.ingest.put_pipeline(id=pipeline_name(index), **guard_pipeline(attachment))
