"""Ranks by a tree of retrievers: vectors for its texts, all leaves in one request, then fusion from the bottom up."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from esblend.errors import BudgetSpent, EncodingError, InvalidRequest, ModelError, NotAttached
from mappings.attachment import Attachment
from mappings.source import source_text
from query.fusion.linear import linear_fusion
from query.fusion.ranked_lists import FusedHit, Key, LegContribution, RankedLeg, Scores
from query.fusion.rrf import reciprocal_rank_fusion
from query.language.semantic import text_to_embed
from query.language.tree import (
    DiversifyLeg,
    FieldsLeg,
    Fusion,
    KnnLeg,
    Leg,
    PinnedLeg,
    RerankLeg,
    Rescorer,
    RescorerLeg,
    RrfLeg,
    StandardLeg,
    Wrapper,
    leaf_windows,
    leaves,
)
from query.plan.bodies import (
    documents_query,
    expand_fields,
    filtered,
    leaf_body,
    matching_body,
    source_body,
    vectors_body,
)
from query.plan.similarity import SIMILARITY_SCALES, Score
from query.run.cross_encoder import Reranker
from query.run.query_encoder import QueryEmbedder, Vector
from query.run.requests import LegKind, SearchRequests, scores_of, server_fault, whole
from query.run.semantic import is_vector_name
from query.targets.metadata import Target


@dataclass(frozen=True)
class RankedCandidates:
    """All candidates in their final order, and what it takes to show and count them."""

    fused: list[FusedHit]
    match_queries: list[dict[str, Any]]
    nearest: list[Key]
    passages: dict[str, Any] | None = None
    attachment: Attachment | None = None
    total: dict[str, Any] | None = None
    """`hits.total` where the legs told it; None where it has to be asked."""


@dataclass
class RetrieverSearch:
    """One search by a retriever tree."""

    requests: SearchRequests
    embedder: QueryEmbedder
    reranker: Reranker
    attached: Callable[[], Awaitable[Target]]
    pinned: list[Key]

    async def run(self, leg: Leg, window: int) -> RankedCandidates:
        """`window`: how many hits a leg gives that stands in no fusion. Raises EsblendError."""
        search = self.requests.search
        leg = await self._with_vectors(await self._expanded(leg))
        parts = list(leaves(leg))
        windows = leaf_windows(leg, window)
        bodies = [leaf_body(part, size, search) for part, size in zip(parts, windows, strict=True)]
        kinds: list[LegKind] = ["semantic" if isinstance(part, KnnLeg) else "lexical" for part in parts]
        lists = self._lists(parts, await self.requests.legs(kinds, bodies))
        began = time.perf_counter()
        fused = await self._fuse(leg, iter(lists))
        self.requests.took("fusion", began)
        return RankedCandidates(
            fused=fused,
            match_queries=[filtered(part.query, part.filters) for part in parts if isinstance(part, StandardLeg)],
            nearest=[
                *self.pinned,
                *(key for part, scores in zip(parts, lists, strict=True) if isinstance(part, KnnLeg) for key in scores),
            ],
        )

    def _lists(self, parts: Sequence[StandardLeg | KnnLeg], responses: Sequence[dict[str, Any]]) -> list[Scores]:
        """A ranked list for each leaf. A kNN leg that the server failed on is left out, and told."""
        lists: list[Scores] = []
        for part, response in zip(parts, responses, strict=True):
            fault = server_fault(response) if isinstance(part, KnnLeg) else None
            if fault is not None:
                self.requests.degrade(part.name, fault)
            lists.append({} if fault is not None else scores_of(whole(response)))
        return lists

    async def _expanded(self, leg: Leg) -> Leg:
        if isinstance(leg, FieldsLeg):
            return expand_fields(leg, await self.attached())
        if isinstance(leg, Fusion):
            legs = [replace(weighted, leg=await self._expanded(weighted.leg)) for weighted in leg.legs]
            return replace(leg, legs=tuple(legs))
        return replace(leg, leg=await self._expanded(leg.leg)) if isinstance(leg, Wrapper) else leg

    async def _with_vectors(self, leg: Leg) -> Leg:
        """The tree with every text of a `query_vector_builder` embedded."""
        if isinstance(leg, Fusion):
            inside = await asyncio.gather(*(self._with_vectors(weighted.leg) for weighted in leg.legs))
            legs = tuple(replace(weighted, leg=one) for weighted, one in zip(leg.legs, inside, strict=True))
            return replace(leg, legs=legs)
        if isinstance(leg, Wrapper):
            return replace(leg, leg=await self._with_vectors(leg.leg))
        if not isinstance(leg, KnnLeg) or "query_vector_builder" not in leg.section:
            return leg
        try:
            field, vector = await self._embedded(leg.section["field"], leg.section["query_vector_builder"])
        except (ModelError, EncodingError) as error:
            self.requests.degrade(leg.name, error.reason)
            return StandardLeg({"match_none": {}}, name=leg.name)
        section = {key: value for key, value in leg.section.items() if key != "query_vector_builder"}
        similarity = (await self.attached()).attachment.generation.vector.similarity
        return replace(leg, section={**section, "field": field, "query_vector": vector}, similarity=similarity)

    async def _embedded(self, field: str, builder: Any) -> tuple[str, Vector]:
        text = text_to_embed(builder)
        attachment = (await self.attached()).attachment
        if not is_vector_name(field, attachment):
            raise InvalidRequest(
                f"[knn.query_vector_builder]: only the attached vector field [{attachment.vector_field}] can be searched by text, "
                f"not [{field}]"
            )
        began = time.perf_counter()
        vector = await self.embedder.embed(text, attachment.generation)
        self.requests.took("encode", began)
        return attachment.vector_field, vector

    async def _vector_path(self, field: str) -> str:
        """The attachment's vector field where `field` stands for it, and `field` itself elsewhere."""
        try:
            attachment = (await self.attached()).attachment
        except NotAttached:
            return field
        return attachment.vector_field if is_vector_name(field, attachment) else field

    async def _fuse(self, leg: Leg, lists: Iterator[Scores]) -> list[FusedHit]:
        """`lists` gives the leaves' ranked lists in their order."""
        if isinstance(leg, StandardLeg | KnnLeg | FieldsLeg):
            return ranked_leaf(leg.name, next(lists))
        if isinstance(leg, Fusion):
            inside = [await self._fuse(weighted.leg, lists) for weighted in leg.legs]
            return fuse(leg, inside)
        first = (await self._fuse(leg.leg, lists))[: leg.window]
        fused = await self._wrapped(leg, first)
        return [one for one in fused if leg.min_score is None or one.score >= leg.min_score]

    async def _wrapped(self, leg: Wrapper, first: list[FusedHit]) -> list[FusedHit]:
        if isinstance(leg, PinnedLeg):
            return await self._pin(leg, first)
        if not first:
            return []
        if isinstance(leg, RescorerLeg):
            for rescorer in leg.rescorers:
                first = await self._rescore(leg.name, rescorer, first)
            return first
        if isinstance(leg, RerankLeg):
            return await self._rerank(leg, first)
        return await self._diversify(leg, first)

    async def _rescore(self, name: str, rescorer: Rescorer, first: list[FusedHit]) -> list[FusedHit]:
        count = rescorer.window or 10
        best, rest = first[:count], first[count:]
        body = matching_body([one.key for one in best], rescorer.query, self.requests.search)
        [response] = await self.requests.ask("rescore", [body])
        return [*rescored(name, rescorer, best, scores_of(response)), *rest]

    async def _rerank(self, leg: RerankLeg, first: list[FusedHit]) -> list[FusedHit]:
        return await rerank(self.requests, self.reranker, leg.name, leg.text, (leg.field,), leg.model, first)

    async def _pin(self, leg: PinnedLeg, first: list[FusedHit]) -> list[FusedHit]:
        plain = [id_ for index, id_ in leg.documents if index is None]
        clauses = [documents_query([Key(index, id_)]) for index, id_ in leg.documents if index is not None]
        if plain:
            clauses.append({"ids": {"values": plain}})
        query = {"bool": {"should": clauses, "minimum_should_match": 1, "filter": list(leg.filters)}}
        body = {**self.requests.search.common, "size": 10 * len(leg.documents), "_source": False, "query": query}
        [response] = await self.requests.ask("pinned", [body])
        found = scores_of(response)
        order = {document: place for place, document in enumerate(leg.documents)}
        pins = sorted(
            found, key=lambda key: min(order.get((key.index, key.id), math.inf), order.get((None, key.id), math.inf))
        )
        self.pinned += pins
        return pin(leg.name, pins, first)[: leg.window]

    async def _diversify(self, leg: DiversifyLeg, first: list[FusedHit]) -> list[FusedHit]:
        field, query = await self._vector_path(leg.vector_field), leg.query.get("query_vector")
        if "query_vector_builder" in leg.query:
            try:
                field, query = await self._embedded(leg.vector_field, leg.query["query_vector_builder"])
            except (ModelError, EncodingError) as error:
                self.requests.degrade(leg.name, error.reason)
        keys = [one.key for one in first]
        [response] = await self.requests.ask("vectors", [vectors_body(keys, field, self.requests.search)])
        vectors = {
            Key(hit["_index"], hit["_id"]): found
            for hit in response["hits"]["hits"]
            if (found := _vectors_at(hit.get("_source") or {}, field)) is not None
        }
        if not vectors:
            raise InvalidRequest(f"[{leg.name}.field]: no hit has a vector in [{leg.vector_field}]")
        return diversified(leg, first, vectors, None if query is None else np.asarray(query, dtype=np.float32))


def ranked_leaf(name: str, scores: Scores) -> list[FusedHit]:
    return [
        FusedHit(key, score, (LegContribution(name, 1.0, rank, score, score, score),))
        for rank, (key, score) in enumerate(scores.items(), 1)
    ]


def fuse(leg: Fusion, inside: Sequence[list[FusedHit]]) -> list[FusedHit]:
    """Fuse the lists of the legs right below a fusion, each cut to its window."""
    legs = [
        RankedLeg(
            weighted.leg.name,
            {one.key: one.score for one in found[: leg.window]},
            weighted.weight,
            weighted.normalizer,
            _dot_of(weighted.leg),
        )
        for weighted, found in zip(leg.legs, inside, strict=True)
    ]
    fused = (
        reciprocal_rank_fusion(legs, leg.rank_constant)
        if isinstance(leg, RrfLeg)
        else linear_fusion(legs, leg.combination)
    )
    if leg.min_score is not None:
        fused = [one for one in fused if one.score >= leg.min_score]
    return fused[: leg.window]


def _dot_of(leg: Leg) -> Score | None:
    """What turns a leg's score back to the dot product, where it has one."""
    measure = SIMILARITY_SCALES.get(leg.similarity or "") if isinstance(leg, KnnLeg) else None
    return measure.of_knn if measure is not None and measure.is_dot else None


_MODES: dict[str, Callable[[float, float], float]] = {
    "total": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "avg": lambda a, b: (a + b) / 2,
    "max": max,
    "min": min,
}


def rescored(name: str, rescorer: Rescorer, best: Sequence[FusedHit], scores: Scores) -> list[FusedHit]:
    """Combine scores as Elasticsearch's query rescorer: a document that the query does not match keeps its weighted score."""
    fused = []
    for one in best:
        own = rescorer.original_weight * one.score
        parts = [LegContribution("first stage", rescorer.original_weight, None, one.score, one.score, own)]
        score = own
        if one.key in scores:
            raw = scores[one.key]
            added = rescorer.rescore_weight * raw
            score = _MODES[rescorer.mode](own, added)
            parts.append(LegContribution(f"{name} ({rescorer.mode})", rescorer.rescore_weight, None, raw, raw, added))
        fused.append(FusedHit(one.key, score, tuple(parts)))
    return sorted(fused, key=lambda one: -one.score)


def pin(name: str, pins: Sequence[Key], first: Sequence[FusedHit]) -> list[FusedHit]:
    """Pinned documents in their order, above the best score of the others, which follow."""
    top = math.ceil(max((one.score for one in first), default=0.0))
    pinned = [
        FusedHit(key, float(score), (LegContribution(name, 1.0, place, score, score, score),))
        for place, key in enumerate(pins, 1)
        for score in [float(top + len(pins) - place + 1)]
    ]
    taken = set(pins)
    return [*pinned, *(one for one in first if one.key not in taken)]


async def rerank(
    requests: SearchRequests,
    reranker: Reranker,
    name: str,
    text: str,
    fields: Sequence[str],
    model: str | None,
    first: list[FusedHit],
) -> list[FusedHit]:
    """`first` in the order of the cross-encoder; as it was when that fails or takes too long, which is told."""
    if not first:
        return first
    [response] = await requests.ask("texts", [source_body([one.key for one in first], fields, requests.search)])
    texts = {
        Key(hit["_index"], hit["_id"]): source_text(hit.get("_source") or {}, fields).text
        for hit in response["hits"]["hits"]
    }
    began = time.perf_counter()
    try:
        scores = await reranker.scores(model, text, [texts.get(one.key, "") for one in first])
    except (ModelError, BudgetSpent) as error:
        requests.degrade("rerank", error.reason)
        return first
    requests.took("rerank", began, documents=len(first))
    again = [
        FusedHit(one.key, score, (LegContribution(name, 1.0, rank, score, score, score),))
        for rank, (one, score) in enumerate(zip(first, scores, strict=True), 1)
    ]
    return sorted(again, key=lambda one: -one.score)


def diversified(
    leg: DiversifyLeg, first: Sequence[FusedHit], vectors: Mapping[Key, Vector], query: Vector | None
) -> list[FusedHit]:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): again and again the document with the highest
    lambda * relevance - (1 - lambda) * (highest cosine to those taken). Relevance is the cosine to the query vector, or
    without one the leg's own score, scaled to [0, 1]. A document without a vector counts as unlike all others.

    `vectors`: (passages, dims) of each document; the closest passages count.
    """
    unit = {key: rows / np.linalg.norm(rows, axis=1, keepdims=True) for key, rows in vectors.items()}
    low, high = first[-1].score, first[0].score
    relevance = {one.key: (one.score - low) / (high - low) if high > low else 1.0 for one in first}
    if query is not None:
        direction = query / np.linalg.norm(query)
        relevance = {one.key: float((unit[one.key] @ direction).max()) if one.key in unit else 0.0 for one in first}
    nearest = dict.fromkeys(relevance, 0.0)
    left = {one.key: one for one in first}
    taken: list[FusedHit] = []
    while left and len(taken) < leg.size:
        gain = {key: leg.relevance * relevance[key] - (1 - leg.relevance) * nearest[key] for key in left}
        best = max(left, key=lambda key: gain[key])
        left.pop(best)
        gained = leg.relevance * relevance[best]
        parts = (
            LegContribution("relevance", leg.relevance, None, relevance[best], relevance[best], gained),
            LegContribution("likeness", leg.relevance - 1, None, nearest[best], nearest[best], gain[best] - gained),
        )
        taken.append(FusedHit(best, gain[best], parts))
        if best in unit:
            for key in left:
                if key in unit:
                    nearest[key] = max(nearest[key], float((unit[key] @ unit[best].T).max()))
    return taken


def _vectors_at(source: Mapping[str, Any], path: str) -> Vector | None:
    """All vectors at a dotted path: one, or one for each nested passage."""
    values: list[Any] = [source]
    for step in path.split("."):
        values = [
            inner
            for value in values
            for one in (value if isinstance(value, list) else [value])
            if isinstance(one, dict) and (inner := one.get(step)) is not None
        ]
    rows = [value for value in values if isinstance(value, list) and value and isinstance(value[0], int | float)]
    return np.asarray(rows, dtype=np.float32) if rows else None
