"""Clauses on an attachment's vectors: kNN, exact scores, and the best passage of each hit."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from esblend.errors import InvalidRequest
from mappings.attachment import Attachment
from query.language.semantic import PassageHits, Semantic
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


def semantic_query(
    attachment: Attachment, semantic: Semantic, vector: Vector, k: int, *, nested: str | None = None, has_k: bool = True
) -> dict[str, Any]:
    """A `semantic` clause as Elasticsearch's kNN; a document with several passages gets the score of its best passage.

    `k`: if the clause has none. `nested`: the path of the enclosing `nested` query, where the clause finds passages.
    `has_k`: whether the server knows `k` in a `knn` query.
    Raises InvalidRequest when that path is not the passages' own.
    """
    section = knn_section(attachment, vector, semantic.k or k)
    if not has_k:
        section["num_candidates"] = section.pop("k")
    if semantic.filters:
        section["filter"] = list(semantic.filters)
    query = knn_query(attachment, section, nested=nested, inner_hits=semantic.inner_hits)
    if semantic.min_score is not None:
        query = {"function_score": {"query": query, "min_score": semantic.min_score}}
    [(kind, inside)] = query.items()
    return {kind: {**inside, **semantic.options}}


def knn_query(
    attachment: Attachment,
    section: dict[str, Any],
    *,
    nested: str | None = None,
    inner_hits: PassageHits | None = None,
) -> dict[str, Any]:
    """A kNN query on the attached field that finds documents, or passages inside `nested` on the passages' own path."""
    if inner_hits is not None and not attachment.is_nested:
        raise InvalidRequest("[semantic.inner_hits] needs passages; the index has one vector per document")
    if nested is None:
        options: dict[str, Any] = {key: section[key] for key in ("boost", "_name") if key in section}
        query = {"knn": {key: value for key, value in section.items() if key not in options}}
        if inner_hits is not None:
            options["inner_hits"] = shown_passages(attachment, inner_hits)
        return by_best_passage(attachment, query, **options)
    if not attachment.is_nested or nested != attachment.passages_path:
        raise InvalidRequest(
            f"a semantic or kNN clause on the attached field finds whole documents; move it out of [nested] with path [{nested}], "
            "next to it in a [bool] query"
        )
    if inner_hits is not None:
        raise InvalidRequest(
            "[semantic.inner_hits] cannot be used inside [nested]; give the [nested] query [inner_hits]"
        )
    return {"knn": section}


def shown_passages(attachment: Attachment, inner_hits: PassageHits) -> dict[str, Any]:
    """`inner_hits` of a nested query with the offsets of passages; the passages' text is added later."""
    path = attachment.passages_path
    fields = [f"{path}.start", f"{path}.end"]
    return {"name": inner_hits.name, "size": inner_hits.size, "from": inner_hits.start, "_source": fields}


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


def best_passage_clause(
    attachment: Attachment, vector: Vector, inner_hits: PassageHits = PassageHits()
) -> dict[str, Any]:
    """Finds the passages of each hit that are most similar to the query, with offsets. For nested passages only."""
    shown = shown_passages(attachment, inner_hits)
    return by_best_passage(attachment, exact_score(attachment, vector), inner_hits=shown)
