"""Ranks by a tree of retrievers: vectors for its texts, all leaves in one request, then fusion from the bottom up."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from esblend.errors import EncodingError, InvalidRequest, ModelError, NotAttached
from query.fusion.linear import linear_fusion
from query.fusion.ranked_lists import FusedHit, Key, LegContribution, Method, RankedLeg, Scores
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
    RescorerLeg,
    RrfLeg,
    StandardLeg,
    Wrapper,
    inside,
    leaf_windows,
    leaves,
)
from query.plan.documents import documents_query, filtered
from query.plan.knn import Vector
from query.plan.legs import leaf_body
from query.plan.page import document_order_body
from query.plan.query_and_fields import expand_fields
from query.plan.shown import bare, is_shown
from query.plan.similarity import SIMILARITY_SCALES, Score
from query.run.candidates import RankedCandidates
from query.run.cross_encoder import Reranker
from query.run.diversify import diversified, read_vectors
from query.run.pin import pin, pinned_documents
from query.run.query_encoder import QueryEmbedder
from query.run.requests import LegKind, SearchRequests, scores_of, server_fault, whole
from query.run.rerank import rerank
from query.run.rescore import rescore
from query.run.semantic import is_vector_name
from query.targets.target import Target


@dataclass
class RetrieverSearch:
    """One search by a retriever tree."""

    requests: SearchRequests
    embedder: QueryEmbedder
    reranker: Reranker
    attached: Callable[[], Awaitable[Target]]
    pinned: list[Key] = field(default_factory=list)

    async def run(self, leg: Leg, window: int) -> RankedCandidates:
        """`window`: the size of a leg's list outside of any fusion. Raises EsblendError."""
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
        nearest = [key for part, scores in zip(parts, lists, strict=True) if isinstance(part, KnnLeg) for key in scores]
        if search.min_score is not None:
            fused = [hit for hit in fused if hit.score >= search.min_score]
        match_queries = [bare(filtered(part.query, part.filters)) for part in parts if isinstance(part, StandardLeg)]
        return RankedCandidates(
            fused=fused,
            match_queries=match_queries,
            nearest=[*self.pinned, *nearest],
            shown=tuple(shown_queries(parts, lists)),
            only_candidates=search.min_score is not None or any_min_score(leg),
        )

    def _lists(self, parts: Sequence[StandardLeg | KnnLeg], responses: Sequence[dict[str, Any]]) -> list[Scores]:
        """A ranked list for each leaf. A kNN leg that failed on the server gives an empty list and is reported."""
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
            inner = await asyncio.gather(*(self._with_vectors(weighted.leg) for weighted in leg.legs))
            legs = tuple(replace(weighted, leg=new) for weighted, new in zip(leg.legs, inner, strict=True))
            return replace(leg, legs=legs)
        if isinstance(leg, Wrapper):
            return replace(leg, leg=await self._with_vectors(leg.leg))
        if not isinstance(leg, KnnLeg) or "query_vector_builder" not in leg.section:
            return leg
        try:
            vector_field, vector = await self._embedded(leg.section["field"], leg.section["query_vector_builder"])
        except (ModelError, EncodingError) as error:
            self.requests.degrade(leg.name, error.reason)
            return StandardLeg({"match_none": {}}, name=leg.name)
        section = {key: value for key, value in leg.section.items() if key != "query_vector_builder"}
        similarity = (await self.attached()).attachment.generation.vector.similarity
        return replace(leg, section={**section, "field": vector_field, "query_vector": vector}, similarity=similarity)

    async def _embedded(self, name: str, builder: Any) -> tuple[str, Vector]:
        text = text_to_embed(builder)
        attachment = (await self.attached()).attachment
        if not is_vector_name(name, attachment):
            raise InvalidRequest(
                f"[knn.query_vector_builder]: only the attached vector field [{attachment.vector_field}] can be searched by text, "
                f"not [{name}]"
            )
        began = time.perf_counter()
        vector = await self.embedder.embed(text, attachment.generation)
        self.requests.took("encode", began)
        return attachment.vector_field, vector

    async def _vector_path(self, name: str) -> str:
        """The attachment's vector field if `name` refers to it; otherwise `name` itself."""
        try:
            attachment = (await self.attached()).attachment
        except NotAttached:
            return name
        return attachment.vector_field if is_vector_name(name, attachment) else name

    async def _fuse(self, leg: Leg, lists: Iterator[Scores], *, is_ranked: bool = False) -> list[FusedHit]:
        """`lists` gives the leaves' ranked lists in their order. `is_ranked`: the enclosing leg reads ranks."""
        if isinstance(leg, StandardLeg | KnnLeg | FieldsLeg):
            return ranked_leaf(leg.name, next(lists))
        if isinstance(leg, Fusion):
            reads_ranks = isinstance(leg, RrfLeg)
            inner = [await self._fuse(weighted.leg, lists, is_ranked=reads_ranks) for weighted in leg.legs]
            return await self._cut(fuse(leg, inner), leg.window, is_ranked=is_ranked)
        candidates = (await self._fuse(leg.leg, lists))[: leg.window]
        fused = await self._wrapped(leg, candidates)
        return [hit for hit in fused if leg.min_score is None or hit.score >= leg.min_score]

    async def _cut(self, fused: list[FusedHit], window: int, *, is_ranked: bool) -> list[FusedHit]:
        """The best `window` hits. Where the order of equal scores matters, Elasticsearch is asked for the documents' order."""
        tied = tied_hits(fused, window, all_ties=is_ranked)
        if tied:
            body = document_order_body([hit.key for hit in tied], self.requests.search)
            [response] = await self.requests.ask("ties", [body])
            order = {key: position for position, key in enumerate(scores_of(response))}
            fused = sorted(fused, key=lambda hit: (-hit.score, order.get(hit.key, -1)))
        return fused[:window]

    async def _wrapped(self, leg: Wrapper, candidates: list[FusedHit]) -> list[FusedHit]:
        if isinstance(leg, PinnedLeg):
            pins = await pinned_documents(self.requests, leg)
            self.pinned += pins
            return pin(leg.name, pins, candidates)[: leg.window]
        if not candidates:
            return []
        if isinstance(leg, RescorerLeg):
            return await rescore(self.requests, leg, candidates)
        if isinstance(leg, RerankLeg):
            return await rerank(self.requests, self.reranker, leg.name, leg.text, (leg.field,), leg.model, candidates)
        return await self._diversify(leg, candidates)

    async def _diversify(self, leg: DiversifyLeg, candidates: list[FusedHit]) -> list[FusedHit]:
        vector_field, query = await self._vector_path(leg.vector_field), leg.query.get("query_vector")
        if "query_vector_builder" in leg.query:
            try:
                vector_field, query = await self._embedded(leg.vector_field, leg.query["query_vector_builder"])
            except (ModelError, EncodingError) as error:
                self.requests.degrade(leg.name, error.reason)
        vectors = await read_vectors(self.requests, [hit.key for hit in candidates], vector_field)
        if not vectors:
            raise InvalidRequest(f"[{leg.name}.field]: no hit has a vector in [{leg.vector_field}]")
        return diversified(leg, candidates, vectors, None if query is None else np.asarray(query, dtype=np.float32))


def ranked_leaf(name: str, scores: Scores) -> list[FusedHit]:
    return [
        FusedHit(key, score, (LegContribution(name, 1.0, rank, score, score, score),), Method("leg"))
        for rank, (key, score) in enumerate(scores.items(), 1)
    ]


def fuse(leg: Fusion, inner: Sequence[list[FusedHit]]) -> list[FusedHit]:
    """Fuse the lists of the legs directly below a fusion, each cut to its window."""
    legs = [
        RankedLeg(
            weighted.leg.name,
            {hit.key: hit.score for hit in hits[: leg.window]},
            weighted.weight,
            weighted.normalizer,
            _dot_of(weighted.leg),
            hits={hit.key: hit for hit in hits} if inside(weighted.leg) else {},
        )
        for weighted, hits in zip(leg.legs, inner, strict=True)
    ]
    fused = (
        reciprocal_rank_fusion(legs, leg.rank_constant)
        if isinstance(leg, RrfLeg)
        else linear_fusion(legs, leg.combination)
    )
    if leg.min_score is not None:
        fused = [hit for hit in fused if hit.score >= leg.min_score]
    return fused


def tied_hits(fused: Sequence[FusedHit], window: int, *, all_ties: bool) -> list[FusedHit]:
    """The hits with equal scores whose order decides: all of them, or those on both sides of the end of the window."""
    if all_ties:
        counts = Counter(hit.score for hit in fused)
        return [hit for hit in fused if counts[hit.score] > 1 and hit.score >= fused[min(window, len(fused)) - 1].score]
    if len(fused) <= window or fused[window - 1].score != fused[window].score:
        return []
    return [hit for hit in fused if hit.score == fused[window].score]


def any_min_score(leg: Leg) -> bool:
    """Whether a leg or any leg below it has a minimum score."""
    return leg.min_score is not None or any(any_min_score(child) for child in inside(leg))


def shown_queries(parts: Sequence[StandardLeg | KnnLeg], lists: Sequence[Scores]) -> Iterator[dict[str, Any]]:
    """The legs' queries with `inner_hits` or `_name`; a named leg becomes a named query, as in Elasticsearch."""
    for part, scores in zip(parts, lists, strict=True):
        is_named = part.is_named
        if isinstance(part, StandardLeg):
            query = filtered(part.query, part.filters)
            if is_named or is_shown(query):
                yield {"bool": {"must": [query], "_name": part.name}} if is_named else query
            continue
        yield from filter(is_shown, part.filters)
        if is_named and scores:
            yield {"bool": {"filter": [documents_query(list(scores))], "_name": part.name}}


def _dot_of(leg: Leg) -> Score | None:
    """Turns a leg's score back into the dot product, if it has one."""
    scale = SIMILARITY_SCALES.get(leg.similarity or "") if isinstance(leg, KnnLeg) else None
    return scale.of_knn if scale is not None and scale.is_dot else None
