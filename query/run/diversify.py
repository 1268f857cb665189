"""The `diversify` retriever: maximal marginal relevance over the candidates' vectors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from esblend.errors import InvalidRequest
from esblend.event_loop import off_loop
from mappings.capabilities import Version
from query.fusion.ranked_lists import FusedHit, Key, LegContribution, Method
from query.language.tree import DiversifyLeg
from query.page.hits import key_of
from query.plan.documents import vectors_body
from query.plan.knn import Vector
from query.run.requests import SearchRequests
from query.run.server_retrievers import HIDES_VECTORS

_MANY_VECTORS = 200
"""With vectors of more documents, the conversion runs in a thread."""


async def read_vectors(
    requests: SearchRequests, keys: Sequence[Key], field: str, version: Version | None
) -> dict[Key, Vector]:
    """The vectors of documents that have any: (passages, dims) each. `version`: of the server."""
    hides = version is None or version >= HIDES_VECTORS
    [response] = await requests.ask("vectors", [vectors_body(keys, field, requests.search, hidden=hides)])
    hits = response["hits"]["hits"]
    return await off_loop(len(hits) > _MANY_VECTORS, _vectors_of, hits, field)


def _vectors_of(hits: Sequence[Mapping[str, Any]], field: str) -> dict[Key, Vector]:
    by_key = {key_of(hit): _vectors_at(hit.get("_source") or {}, field) for hit in hits}
    return {key: rows for key, rows in by_key.items() if rows is not None}


def diversified(
    leg: DiversifyLeg, candidates: Sequence[FusedHit], vectors: Mapping[Key, Vector], query: Vector | None
) -> list[FusedHit]:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) as Elasticsearch's `diversify`.

    The first selected document is the most similar to the query, or without a query vector the best candidate. Then the document
    with the highest lambda * relevance - (1 - lambda) * (highest similarity to the selected documents) is selected repeatedly.
    Similarity is the score of an inner product, whatever similarity the field has; relevance is the similarity to the query
    vector, or 0 without one. Documents without a vector are not selected. The selected documents keep their order and scores.

    `vectors`: (passages, dims) of each document; the most similar passages count. Raises InvalidRequest on a query vector of
    other dimensions.
    """
    usable = [hit for hit in candidates if hit.key in vectors]
    if not usable:
        return []
    # All passages in one array, so that a step compares all documents at once: `starts` are the documents' first rows.
    rows = np.concatenate([vectors[hit.key] for hit in usable])
    ends = np.cumsum([len(vectors[hit.key]) for hit in usable])
    starts = np.concatenate([[0], ends[:-1]])
    relevance = np.zeros(len(usable), dtype=np.float32)
    newest = max(range(len(usable)), key=lambda n: usable[n].score)
    if query is not None:
        if query.shape != rows.shape[1:]:
            raise InvalidRequest(f"[{leg.name}.query_vector]: vector dimensions differ: {rows.shape[1]}!={query.size}")
        relevance = np.maximum.reduceat(inner_product_score(rows @ query), starts)
        newest = int(relevance.argmax())
    share = np.float32(leg.relevance)
    similarity = np.zeros(len(usable), dtype=np.float32)  # every score of an inner product is above 0
    is_selected = np.zeros(len(usable), dtype=bool)
    is_selected[newest] = True
    for _ in range(min(leg.size, len(usable)) - 1):
        products = rows @ rows[starts[newest] : ends[newest]].T
        np.maximum(similarity, np.maximum.reduceat(inner_product_score(products).max(axis=1), starts), out=similarity)
        value = share * relevance - (1 - share) * similarity
        value[is_selected] = -np.inf
        newest = int(value.argmax())
        is_selected[newest] = True
    selected = {hit.key for hit, chosen in zip(usable, is_selected, strict=True) if chosen}
    return [_kept(leg.name, hit) for hit in candidates if hit.key in selected]


def inner_product_score(product: Any) -> Any:
    """Elasticsearch's score of `max_inner_product`: 1 / (1 - product) below 0, else product + 1."""
    return np.where(product < 0, 1 / (1 - np.minimum(product, 0)), product + 1).astype(np.float32)


def _kept(name: str, hit: FusedHit) -> FusedHit:
    part = LegContribution(name, 1.0, None, hit.score, hit.score, hit.score, inner=hit)
    return FusedHit(hit.key, hit.score, (part,), Method("diversify"))


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
