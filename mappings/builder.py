"""Builds the mapping that an attachment adds to an index, and recognises it.

    {field: {g1: {fingerprint, state, passages: [{vector, start, end}], claim, [detached]}}}

`claim` makes an attach call atomic: its `null_value` is a digest of the settings, and Elasticsearch rejects a mapping update that
changes it. Documents never contain this field. `detached` marks the generations of an attachment that was removed. After another
client has overwritten `_meta`, the next attachment claims the last generation again (`claim_1`, `claim_2`, ...). Fields `turn_1`,
`turn_2`, ... make later changes atomic (see `mappings.atomic_changes`).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mappings.attachment import Attachment, Generation, is_attached

_UNUSED: dict[str, Any] = {"type": "keyword", "index": False, "doc_values": False}
"""A field that documents never contain."""
_PROBES: dict[str, set[str]] = {"model": {"probe"}, "query_model": {"probe"}}
"""A claim leaves out the probe of an encoder service, because a service may round it differently the next time."""


def generation_mapping(generation: Generation) -> dict[str, Any]:
    """The mapping of one generation's object: fingerprint, state and nested passages (or one flat vector)."""
    options = {
        "type": generation.vector.type,
        "m": generation.vector.m,
        "ef_construction": generation.vector.ef_construction,
    }
    vector: dict[str, Any] = {
        "type": "dense_vector",
        "dims": generation.model.dims,
        "index": True,
        "similarity": generation.vector.similarity,
        "index_options": {key: value for key, value in options.items() if value is not None},
    }
    if generation.vector.element_type != "float":
        vector["element_type"] = generation.vector.element_type
    offset = {"type": "integer", "index": False, "doc_values": False}
    passages: dict[str, Any] = {
        "type": "nested",
        "dynamic": False,
        "properties": {"vector": vector, "start": offset, "end": offset},
    }
    if generation.passages.fields == "apart":
        passages["properties"] |= {"field": {"type": "keyword"}}
    properties: dict[str, Any] = {"fingerprint": {"type": "keyword"}, "state": {"type": "keyword"}}
    if generation.adopted is None:
        properties |= {"passages": passages} if generation.vector.layout == "passages" else {"vector": vector}
    return {"type": "object", "dynamic": False, "properties": properties}


def mapping_additions(attachment: Attachment) -> dict[str, Any]:
    """`properties` to put into the mapping of an index that is not attached yet."""
    generations = {name: claimed_generation_mapping(attachment, name) for name in attachment.generations}
    return {attachment.field: {"type": "object", "dynamic": False, "properties": generations}}


def expected_properties(attachment: Attachment) -> dict[str, Any]:
    """`properties` that an attached index must have."""
    generations = {name: generation_mapping(generation) for name, generation in attachment.generations.items()}
    return {attachment.field: {"type": "object", "dynamic": False, "properties": generations}}


def claimed_generation_mapping(attachment: Attachment, generation: str) -> dict[str, Any]:
    """The mapping of a new generation with its claim: of two simultaneous calls with different settings, one is rejected."""
    settings = attachment.model_dump(mode="json", include={"source_fields", "guard", "versioning", "defaults"})
    settings["generation"] = attachment.generations[generation].model_dump(mode="json", exclude=_PROBES)
    mapping = generation_mapping(attachment.generations[generation])
    return {**mapping, "properties": {**mapping["properties"], "claim": _claim(settings)}}


def _without_probes(attachment: Attachment) -> dict[str, Any]:
    return attachment.model_dump(mode="json", exclude={"generations": {"__all__": _PROBES}})


def _claim(settings: dict[str, Any]) -> dict[str, Any]:
    return {**_UNUSED, "null_value": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()}


def second_claim(attachment: Attachment, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """`properties` that claim an index whose attachment was overwritten; empty for any other index.

    A new attachment has a new generation, and a restored one has the last generation: only a claim that both make lets
    Elasticsearch reject one of two simultaneous calls.
    """
    if not has_lost_attachment(mapping):
        return {}
    claims: dict[str, Any] = {}
    for field, body in (mapping.get("properties") or {}).items():
        generations = own_generations(body)
        if any(_is_claimed(generation) for generation in generations.values()):
            last = max(generations, key=lambda name: int(name[1:]))
            number = sum(name.startswith("claim_") for name in generations[last]["properties"]) + 1
            claim = {f"claim_{number}": _claim(_without_probes(attachment))}
            claims[field] = {"properties": {last: {"properties": claim}}}
    return claims


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two mapping updates as one."""
    return first | {
        key: merged(first[key], value) if isinstance(value, dict) and isinstance(first.get(key), dict) else value
        for key, value in second.items()
    }


def is_claim_conflict(reason: str) -> bool:
    """Whether Elasticsearch rejected a mapping update because another call claimed the generation first."""
    return "conflict" in reason and any(part in reason for part in (".claim", "[null_value]", ".vector]"))


def detached_marks(properties: Mapping[str, Any]) -> dict[str, Any]:
    """`properties` that mark all of esblend's generations in a mapping as detached."""
    marked = {"properties": {"detached": _UNUSED}}
    return {
        field: {"properties": dict.fromkeys(own_generations(mapping), marked)}
        for field, mapping in properties.items()
        if own_generations(mapping)
    }


def has_lost_attachment(mapping: Mapping[str, Any]) -> bool:
    """Whether another client overwrote `_meta`: the index is not attached, and no one detached it.

    A copy of the documents (`_reindex`) has fields of the same names by dynamic mapping, but no claim.
    """
    if is_attached(dict(mapping)):
        return False
    fields = (own_generations(field) for field in (mapping.get("properties") or {}).values())
    return any(_is_claimed(generation) for inside in fields for generation in inside.values())


def _is_claimed(generation: Mapping[str, Any]) -> bool:
    fields = generation.get("properties") or {}
    return "claim" in fields and "detached" not in fields


def has_same_claim(attachment: Attachment, mapping: Mapping[str, Any]) -> bool:
    """Whether a mapping already has the active generation of `attachment` with the same settings, and no one detached it."""
    field = (mapping.get("properties") or {}).get(attachment.field) or {}
    present = own_generations(field).get(attachment.active) or {}
    planned = claimed_generation_mapping(attachment, attachment.active)
    return _is_claimed(present) and present["properties"]["claim"] == planned["properties"]["claim"]


def own_generations(field: Mapping[str, Any]) -> Mapping[str, Any]:
    """The generations in the mapping of an object field of esblend; empty for any other field."""
    inside: Mapping[str, Any] = field.get("properties") or {}
    is_own = all(
        name[:1] == "g" and name[1:].isdigit() and "fingerprint" in (mapping.get("properties") or {})
        for name, mapping in inside.items()
    )
    return inside if is_own else {}
