"""Builds the write that replaces a document's vectors, or that stores a state without vectors."""

from typing import Any

import numpy as np

from mappings.attachment import ADOPTED, DEAD_LETTER
from workers.conditional_writes import Write, conditional_write
from workers.documents import Document, Target
from workers.encoding import Embedded


def vector_write(target: Target, result: Embedded) -> Write:
    """The write of nested passages, of one flat vector, or of an adopted vector; null removes a flat vector."""
    document = result.document
    values: dict[str, Any] = {"fingerprint": document.fingerprint, "state": result.state}
    vector = result.vectors[0] if len(result.vectors) else None
    adopted = target.generation.adopted
    if adopted is not None:
        is_removed = vector is None and document.vectors and not document.keeps_foreign_vector
        return conditional_write(
            target, document, values, {adopted.field: vector} if vector is not None or is_removed else None
        )
    if target.generation.vector.layout == "flat":
        return conditional_write(target, document, {**values, "vector": vector})
    passages = [
        {"vector": vector, "start": passage.start, "end": passage.end}
        | ({} if passage.field is None else {"field": passage.field})
        for passage, vector in zip(result.passages, result.vectors, strict=True)
    ]
    return conditional_write(target, document, {**values, "passages": passages})


def without_vectors(target: Target, document: Document, state: str) -> Embedded:
    """The result for a document that gets a state and no vectors. An adopted vector of another application remains."""
    if target.generation.adopted is not None and document.keeps_foreign_vector and state != DEAD_LETTER:
        state = ADOPTED
    return Embedded(document, [], np.empty((0, target.generation.model.dims), dtype=np.float32), state)
