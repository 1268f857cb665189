"""Generations over the years: a new model or passage setting grows beside the old one, takes over at once, and the old one goes.

add -> the feed embeds every document for it -> activate (one change of `_meta`) -> drop the other
                                                     \\-> activate the other again: a roll-back
"""

from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch

from esblend.errors import InvalidRequest, NotAttached
from mappings.attach_index import find_index, show
from mappings.attachment import META_KEY, Attachment, AttachRequest, GenerationRequest, read_attachment
from mappings.builder import generation_mapping
from mappings.capabilities import check_capabilities
from mappings.generation import Models, make_generation
from mappings.guard import guard_pipeline, pipeline_name

MOST = 2
"""Generations in an index at once: one that is searched, and one that comes or goes."""


@dataclass(frozen=True)
class Added:
    """The generation of a request: a new one, or with `changed` False one that was there."""

    index: str
    name: str
    attachment: Attachment
    changed: bool


@dataclass(frozen=True)
class Found:
    """An attached index with its mapping."""

    index: str
    mapping: dict[str, Any]
    attachment: Attachment


async def find_attached(es: AsyncElasticsearch, name: str) -> Found:
    """Raises IndexNotFound or NotAttached."""
    index, mapping = await find_index(es, name)
    attachment = read_attachment(mapping)
    if attachment is None:
        raise NotAttached(f"index [{index}] is not attached: PUT /_esblend/indices/{index} attaches it")
    return Found(index, mapping, attachment)


def wanted_model(request: GenerationRequest, attachment: Attachment) -> str:
    """The model that the new generation embeds documents with."""
    return request.model or attachment.generation.model.name


async def add_generation(es: AsyncElasticsearch, name: str, request: GenerationRequest, models: Models) -> Added:
    """Put a generation beside the active one; searches go on with that. The same call again changes nothing.

    Raises IndexNotFound, NotAttached, or InvalidRequest (parts that do not fit, a third generation, limits of the index).
    """
    found = await find_attached(es, name)
    attachment = found.attachment
    generation = make_generation(_as_attach_request(request, attachment), models)
    for known, present in attachment.generations.items():
        if present == generation:
            return Added(found.index, known, attachment, changed=False)
    if len(attachment.generations) >= MOST:
        others = ", ".join(f"[{one}]" for one in attachment.generations if one != attachment.active)
        raise InvalidRequest(
            f"index [{found.index}] holds another generation already, {others}: "
            f"DELETE /_esblend/indices/{found.index}/generations/... drops it"
        )
    new = f"g{_next_number(found)}"
    changed = attachment.model_copy(update={"generations": {**attachment.generations, new: generation}})
    additions = {
        attachment.field: {"type": "object", "dynamic": False, "properties": {new: generation_mapping(generation)}}
    }
    await check_capabilities(es, found.index, found.mapping, generation, additions)
    await _write(es, found, changed, additions)
    return Added(found.index, new, changed, changed=True)


async def activate(es: AsyncElasticsearch, name: str, generation: str, *, force: bool = False) -> Added:
    """Let searches use another generation: one change of `_meta`, which every gateway sees within a second or two.

    Raises IndexNotFound, NotAttached, or InvalidRequest when there is no such generation, or documents lack it
    (unless `force`).
    """
    found = await find_attached(es, name)
    changed = found.attachment.using(generation)
    if changed is found.attachment:
        return Added(found.index, generation, changed, changed=False)
    missing = await count_missing(es, found.index, changed)
    if missing and not force:
        raise InvalidRequest(
            f"{missing} documents of [{found.index}] have no vectors of generation [{generation}] yet: wait until it is covered, "
            "or add [force=true]"
        )
    await _write(es, found, changed, {})
    return Added(found.index, generation, changed, changed=True)


async def drop(es: AsyncElasticsearch, name: str, generation: str) -> tuple[str, str | None]:
    """Take a generation off that is not active: (index, the task that takes its vectors out of the documents).

    Writers with versions of their own forbid that any other write raises them, so there the vectors stay until the next
    write of each document, and no task is begun. Raises IndexNotFound, NotAttached, or InvalidRequest.
    """
    found = await find_attached(es, name)
    attachment = found.attachment
    if generation == attachment.active:
        raise InvalidRequest(f"generation [{generation}] is the active one: activate another before it is dropped")
    if generation in attachment.generations:
        rest = {key: value for key, value in attachment.generations.items() if key != generation}
        await _write(es, found, attachment.model_copy(update={"generations": rest}), {})
    if attachment.versioning == "external":
        return found.index, None
    field = attachment.field
    script = "if (ctx._source[params.field] instanceof Map) { ctx._source[params.field].remove(params.generation) }"
    task = await es.update_by_query(
        index=found.index,
        query={"exists": {"field": f"{field}.{generation}.fingerprint"}},
        script={"lang": "painless", "source": script, "params": {"field": field, "generation": generation}},
        conflicts="proceed",
        wait_for_completion=False,
        refresh=True,
    )
    return found.index, str(task["task"])


async def describe(es: AsyncElasticsearch, name: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """(index, each generation with how many documents have it and how many do not)."""
    index, attachment = await show(es, name)
    await es.indices.refresh(index=index)
    total = (await es.count(index=index))["count"]
    found = {}
    for one in attachment.generations:
        missing = await count_missing(es, index, attachment.using(one))
        model = attachment.generations[one].model
        found[one] = {
            "active": one == attachment.active, "model": model.name, "dims": model.dims, "documents": total - missing,
            "missing": missing,
        }  # fmt: skip
    return index, found


async def count_missing(es: AsyncElasticsearch, index: str, attachment: Attachment) -> int:
    """Documents that the active generation of `attachment` does not know."""
    await es.indices.refresh(index=index)
    is_followed = attachment.generation.is_followed
    known = {"exists": {"field": attachment.fingerprint_field if is_followed else attachment.vector_field}}
    return int((await es.count(index=index, query={"bool": {"must_not": [known]}}))["count"])


def _as_attach_request(request: GenerationRequest, attachment: Attachment) -> AttachRequest:
    """What is left out is as in the active generation, but for what hangs on another model."""
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


def _next_number(found: Found) -> int:
    """Generations that were dropped still have their fields in the mapping, so their names are not used again."""
    inside = found.mapping.get("properties", {}).get(found.attachment.field, {}).get("properties", {})
    return 1 + max(int(one[1:]) for one in {*inside, *found.attachment.generations})


async def _write(es: AsyncElasticsearch, found: Found, attachment: Attachment, additions: dict[str, Any]) -> None:
    if attachment.guard:  # it must know a generation before there is a vector of it
        await es.ingest.put_pipeline(id=pipeline_name(found.index), **guard_pipeline(attachment))
    meta = {**found.mapping["_meta"], META_KEY: attachment.to_meta()}
    await es.indices.put_mapping(index=found.index, meta=meta, properties=additions or None)
