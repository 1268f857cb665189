"""Builds the mapping that an attachment adds to an index."""

from typing import Any

from mappings.attachment import Attachment, Generation


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
    """`properties` to put into the index's mapping."""
    generations = {name: generation_mapping(generation) for name, generation in attachment.generations.items()}
    return {attachment.field: {"type": "object", "dynamic": False, "properties": generations}}
