"""The `diversify` retriever: maximal marginal relevance over the candidates' vectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from query.fusion.ranked_lists import FusedHit, Key, LegContribution
from query.language.tree import DiversifyLeg
from query.page.hits import key_of
from query.plan.documents import vectors_body
from query.plan.knn import Vector
from query.run.requests import SearchRequests


async def read_vectors(requests: SearchRequests, keys: Sequence[Key], field: str) -> dict[Key, Vector]:
    """The vectors of documents that have any: (passages, dims) each."""
    [response] = await requests.ask("vectors", [vectors_body(keys, field, requests.search)])
    by_key = {key_of(hit): _vectors_at(hit.get("_source") or {}, field) for hit in response["hits"]["hits"]}
    return {key: rows for key, rows in by_key.items() if rows is not None}


def diversified(
    leg: DiversifyLeg, candidates: Sequence[FusedHit], vectors: Mapping[Key, Vector], query: Vector | None
) -> list[FusedHit]:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): repeatedly select the document with the highest
    lambda * relevance - (1 - lambda) * (highest cosine to the selected documents). Relevance is the cosine to the query vector,
    or without a query vector the leg's own score, scaled to [0, 1]. A document without a vector is similar to none.

    `vectors`: (passages, dims) of each document; the most similar passages count.
    """
    unit = {key: rows / np.linalg.norm(rows, axis=1, keepdims=True) for key, rows in vectors.items()}
    low, high = candidates[-1].score, candidates[0].score
    relevance = {hit.key: (hit.score - low) / (high - low) if high > low else 1.0 for hit in candidates}
    if query is not None:
        direction = query / np.linalg.norm(query)
        relevance = {
            hit.key: float((unit[hit.key] @ direction).max()) if hit.key in unit else 0.0 for hit in candidates
        }
    similarity = dict.fromkeys(relevance, 0.0)
    remaining = dict.fromkeys(relevance)
    selected: list[FusedHit] = []
    while remaining and len(selected) < leg.size:
        gain = {key: leg.relevance * relevance[key] - (1 - leg.relevance) * similarity[key] for key in remaining}
        best = max(remaining, key=lambda key: gain[key])
        del remaining[best]
        gained = leg.relevance * relevance[best]
        parts = (
            LegContribution("relevance", leg.relevance, None, relevance[best], relevance[best], gained),
            LegContribution(
                "similarity", leg.relevance - 1, None, similarity[best], similarity[best], gain[best] - gained
            ),
        )
        selected.append(FusedHit(best, gain[best], parts))
        if best in unit:
            for key in remaining:
                if key in unit:
                    similarity[key] = max(similarity[key], float((unit[key] @ unit[best].T).max()))
    return selected


def _vectors_at(source: Mapping[str, Any], path: str) -> Vector | None:
    """All vectors at a dotted path: one vector, or one for each nested passage."""
    values: list[Any] = [source]
    for step in path.split("."):
        values = [
            inner
            for value in values
            for entry in (value if isinstance(value, list) else [value])
            if isinstance(entry, dict) and (inner := entry.get(step)) is not None
        ]
    rows = [value for value in values if isinstance(value, list) and value and isinstance(value[0], int | float)]
    return np.asarray(rows, dtype=np.float32) if rows else None
