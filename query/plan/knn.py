"""Clauses on an attachment's vectors: kNN, exact scores, and the best passage of each hit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mappings.attachment import Attachment
from query.plan.similarity import similarity_scale

INNER_HITS = "passages"
Vector = NDArray[np.float32]


def knn_section(attachment: Attachment, vector: Vector, k: int) -> dict[str, Any]:
    section = {"field": attachment.vector_field, "query_vector": vector, "k": k, "num_candidates": num_candidates(k)}
    oversample = attachment.generation.vector.oversample
    return section if oversample is None else {**section, "rescore_vector": {"oversample": oversample}}


def num_candidates(k: int) -> int:
    """Candidates per shard: 1.5 * k, at least 100 and at most 10,000, the limit of Elasticsearch."""
    return min(10_000, max(100, k + k // 2))


def semantic_clause(attachment: Attachment, vector: Vector, k: int) -> dict[str, Any]:
    """A `semantic` query as Elasticsearch's kNN; a document with several passages gets the score of its best passage."""
    return by_best_passage(attachment, {"knn": knn_section(attachment, vector, k)})


def by_best_passage(attachment: Attachment, query: dict[str, Any], **options: Any) -> dict[str, Any]:
    """A query on vectors as a query on documents. `options`: options of the clause, such as `_name`."""
    if attachment.is_nested:
        nested = {"path": attachment.passages_path, "score_mode": "max", "query": query, **options}
        return {"nested": {**nested, "ignore_unmapped": True}}  # some indices of the search may not be attached yet
    [(kind, inside)] = query.items()
    return {kind: {**inside, **options}}


def exact_score(attachment: Attachment, vector: Vector, of_field: str | None = None) -> dict[str, Any]:
    """Similarity to the vectors as they were written, not as they were quantised. `of_field`: of its passages only."""
    field = attachment.vector_field
    query = (
        {"exists": {"field": field}} if of_field is None else {"term": {f"{attachment.passages_path}.field": of_field}}
    )
    return {"script_score": {
        "query": query,
        "script": {"source": similarity_scale(attachment).script, "params": {"vector": vector, "field": field}},
    }}  # fmt: skip


def best_passage_clause(attachment: Attachment, vector: Vector) -> dict[str, Any]:
    """Finds the passage of each hit that is most similar to the query, with its offsets. For nested passages only."""
    path = attachment.passages_path
    shown = {"name": INNER_HITS, "size": 1, "_source": [f"{path}.start", f"{path}.end"]}
    return by_best_passage(attachment, exact_score(attachment, vector), inner_hits=shown)
