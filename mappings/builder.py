"""Builds the mapping that an attachment adds to an index."""

from typing import Any

from mappings.attachment import Attachment, Generation


def generation_mapping(generation: Generation) -> dict[str, Any]:
    """The object that one generation needs in each document: fingerprint, state and nested passages."""
    options = {
        "type": generation.vector.type,
        "m": generation.vector.m,
        "ef_construction": generation.vector.ef_construction,
    }
    vector = {
        "type": "dense_vector",
        "dims": generation.model.dims,
        "index": True,
        "similarity": "dot_product",
        "index_options": {key: value for key, value in options.items() if value is not None},
    }
    offset = {"type": "integer", "index": False, "doc_values": False}
    return {
        "type": "object",
        "dynamic": False,
        "properties": {
            "fingerprint": {"type": "keyword"},
            "state": {"type": "keyword"},
            "passages": {
                "type": "nested",
                "dynamic": False,
                "properties": {"vector": vector, "start": offset, "end": offset},
            },
        },
    }


def mapping_additions(attachment: Attachment) -> dict[str, Any]:
    """`properties` to put into the index's mapping."""
    generations = {name: generation_mapping(generation) for name, generation in attachment.generations.items()}
    return {attachment.field: {"type": "object", "dynamic": False, "properties": generations}}
