"""Ranks by the short `hybrid` form: BM25 and nearest passages, by default with both true scores of every candidate."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from esblend.errors import EncodingError, InvalidRequest, ModelError
from esblend.plugins import FUSIONS, find
from mappings.attachment import Attachment
from query.fusion.autocut import autocut
from query.fusion.linear import linear_fusion
from query.fusion.ranked_lists import FusedHit, Key, RankedLeg, Scores
from query.fusion.rrf import reciprocal_rank_fusion
from query.language.tree import Hybrid, KnnLeg, StandardLeg
from query.plan.documents import filtered
from query.plan.hybrid_legs import (
    LEXICAL,
    SEMANTIC,
    exact_semantic_leg,
    lexical_leg,
    semantic_leg,
    weights_of,
    window_of,
    with_true_scores,
)
from query.plan.knn import best_passage_clause
from query.plan.legs import leaf_body
from query.plan.similarity import SIMILARITY_SCALES, SimilarityScale, similarity_scale
from query.run.candidates import RankedCandidates
from query.run.cross_encoder import Reranker
from query.run.exact_knn import ExactKnn
from query.run.query_encoder import QueryEmbedder, Vector
from query.run.requests import LegKind, SearchRequests, scores_of, server_fault, whole
from query.run.rerank import rerank
from query.targets.metadata import Target

log = structlog.get_logger()


@dataclass(frozen=True)
class HybridLegs:
    """What the legs gave, by name, the lexical one first; `vector` is None where the semantic ones were not asked or failed."""

    lists: dict[str, Scores]
    nearest: list[Key]
    """What the semantic leg found by itself."""
    vector: Vector | None
    weights: Mapping[str, float]
    total: dict[str, Any] | None = None
    """Of what any leg matches, as Elasticsearch writes `hits.total`; None where the legs did not tell."""


@dataclass
class HybridSearch:
    """One search by `hybrid`."""

    requests: SearchRequests
    embedder: QueryEmbedder
    reranker: Reranker
    exact_knn: ExactKnn

    async def run(self, hybrid: Hybrid, targets: Sequence[Target]) -> RankedCandidates:
        """`targets`: the indices to search, together where they share an attachment. Raises EsblendError."""
        search = self.requests.search
        if len(targets) > 1:
            return await self._several(hybrid, targets)
        [target] = targets
        attachment = target.attachment
        legs = await self._legs(hybrid, target)
        fused = self._blended(hybrid, attachment, legs.lists, legs.weights)
        if hybrid.rerank is not None:
            window = hybrid.rerank.window or max(10, search.start + search.size)
            fused = await rerank(
                self.requests, self.reranker, "rerank", hybrid.query, attachment.source_fields, hybrid.rerank.model, fused[:window]
            )  # fmt: skip
        return RankedCandidates(
            fused=_cut(hybrid, fused),
            match_queries=self._matches(hybrid, target) if legs.weights[LEXICAL] else [],
            nearest=legs.nearest,
            passages=best_passage_clause(attachment, legs.vector)
            if legs.vector is not None and attachment.is_nested
            else None,
            attachment=attachment,
            total=legs.total,
        )

    async def _several(self, hybrid: Hybrid, targets: Sequence[Target]) -> RankedCandidates:
        """Indices with different attachments: each gives its candidates, all are blended as one list."""
        if hybrid.rerank is not None or hybrid.inner_hits:
            raise InvalidRequest("[hybrid.rerank] and [hybrid.inner_hits] need indices that share one attachment")
        if len({repr(target.attachment.defaults) for target in targets}) > 1:
            raise InvalidRequest("the indices have different query defaults; search them one by one")
        if len({target.attachment.generation.vector.similarity for target in targets}) > 1:
            raise InvalidRequest("the indices compare vectors by different similarities; search them one by one")
        together: dict[str, dict[Key, float]] = {}
        weights: dict[str, float] = {}
        matches, nearest = [], []
        for target in targets:
            only = {"terms": {"_index": list(target.indices)}}
            mine = replace(hybrid, filters=(*hybrid.filters, only))
            legs = await self._legs(mine, target)
            for name, scores in legs.lists.items():
                together.setdefault(name, {}).update(scores)
            matches += self._matches(mine, target) if legs.weights[LEXICAL] else []
            nearest += legs.nearest
            if (
                not weights or legs.vector is not None
            ):  # where one had to do without its vector, the others' weights hold
                weights = dict(legs.weights)
        lists = {name: _best_first(together.get(name, {})) for name in weights}
        fused = self._blended(hybrid, targets[0].attachment, lists, weights)
        return RankedCandidates(fused=_cut(hybrid, fused), match_queries=matches, nearest=nearest)

    def _matches(self, hybrid: Hybrid, target: Target) -> list[dict[str, Any]]:
        leg = lexical_leg(hybrid, target)
        return [filtered(leg.query, leg.filters)]

    def _blended(
        self, hybrid: Hybrid, attachment: Attachment, lists: Mapping[str, Scores], weights: Mapping[str, float]
    ) -> list[FusedHit]:
        began = time.perf_counter()
        fused = blend(lists, weights, blending_of(hybrid, attachment), similarity_scale(attachment))
        self.requests.took("fusion", began)
        return fused

    async def _legs(self, hybrid: Hybrid, target: Target) -> HybridLegs:
        """All legs in one request; one of weight 0 is not asked. When the semantic ones fail, the lexical one answers alone."""
        search, attachment = self.requests.search, target.attachment
        lexical = lexical_leg(hybrid, target)
        window, weights = window_of(hybrid, attachment, search), weights_of(hybrid, attachment)
        semantic_names = [name for name in weights if name != LEXICAL]
        how = blending_of(hybrid, attachment)
        # Legs of fields have no ranked lists of their own to look at, only true scores.
        is_exact = (how.fusion != "rrf" and hybrid.blending == "exact") or semantic_names != [SEMANTIC]
        # Counting takes no longer than the encoder, which runs at the same time.
        vector, few = (
            await asyncio.gather(
                self._embed(hybrid.query, attachment), self.exact_knn.count_if_small(self.requests, hybrid.filters)
            )
            if any(weights[name] for name in semantic_names)
            else (None, None)
        )
        # Where each hit tells what it matches, the legs can count, and nobody has to ask once more.
        lexical_body = leaf_body(
            lexical, window, search, track_total_hits=search.track_total_hits if is_exact else False
        )
        if vector is not None:
            semantic = self._semantic_leg(hybrid, attachment, vector, window, few)
            asked = [leaf_body(semantic, window, search), *([lexical_body] if weights[LEXICAL] else [])]
            if is_exact:
                asked = [with_true_scores(body, lexical, attachment, vector, weights) for body in asked]
            kinds: list[LegKind] = ["semantic", "lexical"]
            responses = await self.requests.legs(kinds[: len(asked)], asked, named_scores=is_exact)
            fault = server_fault(responses[0])
            if fault is None:
                found = [whole(response) for response in responses]
                nearest = scores_of(found[0])
                lists: dict[str, Scores]
                if is_exact:
                    lists = _true_scores(found, attachment, weights)
                else:
                    measure = similarity_scale(attachment)
                    value = measure.of_knn if few is None else measure.of_script
                    near = {key: value(score) for key, score in nearest.items()}
                    lists = {LEXICAL: scores_of(found[1]) if weights[LEXICAL] else {}, SEMANTIC: near}
                counting = found[1] if weights[LEXICAL] else None
                total = _total(search.track_total_hits, counting, found[0]) if is_exact else None
                return HybridLegs(lists, list(nearest), vector, weights, total)
            self.requests.degrade(SEMANTIC, fault)
        [response] = map(whole, await self.requests.legs(["lexical"], [lexical_body]))
        alone = {LEXICAL: 1.0, **dict.fromkeys(semantic_names, 0.0)}
        lists = {LEXICAL: scores_of(response), **{name: {} for name in semantic_names}}
        return HybridLegs(lists, [], None, alone)

    def _semantic_leg(
        self, hybrid: Hybrid, attachment: Attachment, vector: Vector, window: int, few: int | None
    ) -> StandardLeg | KnnLeg:
        if few is None:
            self.requests.plan[SEMANTIC] = "approximate kNN"
            return semantic_leg(hybrid, attachment, vector, window)
        passing = "pass the filters" if hybrid.filters else "are there"
        self.requests.plan[SEMANTIC] = (
            f"exact: {few} documents {passing}, at most {self.exact_knn.most} are compared one by one"
        )
        return exact_semantic_leg(hybrid, attachment, vector)

    async def _embed(self, text: str, attachment: Attachment) -> Vector | None:
        began = time.perf_counter()
        try:
            vector = await self.embedder.embed(text, attachment.generation)
        except (ModelError, EncodingError) as error:
            log.warning("searching without the semantic leg", cause=error.reason)
            self.requests.degrade(SEMANTIC, error.reason)
            return None
        self.requests.took("encode", began)
        return vector


def _true_scores(
    responses: Sequence[dict[str, Any]], attachment: Attachment, weights: Mapping[str, float]
) -> dict[str, Scores]:
    """Every candidate's BM25 and nearness, by leg; each list best first, a document that a leg does not match left out, and a leg
    of weight 0 empty."""
    value = similarity_scale(attachment).of_script
    found: dict[str, dict[Key, float]] = {name: {} for name in weights}
    for response in responses:
        for hit in response["hits"]["hits"]:
            for name, score in (hit.get("matched_queries") or {}).items():
                if weights.get(name):
                    found[name][Key(hit["_index"], hit["_id"])] = score if name == LEXICAL else value(score)
    return {name: _best_first(scores) for name, scores in found.items()}


def _total(most: bool | int, lexical: Mapping[str, Any] | None, semantic: Mapping[str, Any]) -> dict[str, Any]:
    """`hits.total` over both legs' responses: all that BM25 matches, and what only the vector found. `most`: the request's
    `track_total_hits`, to which counting goes."""
    matched = (lexical or {"hits": {}})["hits"].get("total", {"value": 0, "relation": "eq"})
    near = semantic["hits"]["hits"]
    apart = sum(LEXICAL not in (hit.get("matched_queries") or ()) for hit in near) if lexical is not None else len(near)
    if matched["relation"] != "eq":
        return dict(matched)
    value = matched["value"] + apart
    if most is not True and value > int(most):
        return {"value": int(most), "relation": "gte"}
    return {"value": value, "relation": "eq"}


@dataclass(frozen=True)
class Blending:
    """How two legs become one list."""

    fusion: str = "linear"
    normalizer: str | None = None
    combination: str = "sum"
    rank_constant: int = 60


def blending_of(hybrid: Hybrid, attachment: Attachment) -> Blending:
    """As asked, else as the attachment's defaults have it, else by the formula of `blend`."""
    defaults = attachment.defaults
    return Blending(
        hybrid.fusion or defaults.fusion or "linear",
        hybrid.normalizer or (None if hybrid.fusion else defaults.normalizer),
        hybrid.combination,
        hybrid.rank_constant or defaults.rank_constant or 60,
    )


def blend(
    lists: Mapping[str, Scores],
    weights: Mapping[str, float],
    how: Blending = Blending(),
    measure: SimilarityScale = SIMILARITY_SCALES["dot_product"],
) -> list[FusedHit]:
    """Fuse the legs of a hybrid query, BM25 first, by name.

    By default score = w0 * BM25 / (the query's highest BM25 among the candidates) + w1 * dot product. The
    `theoretical` normaliser takes the bounds that are known: the same for BM25, and (dot + 1) / 2. Any other is applied to
    both lists. A document without vectors gets 0 from the semantic leg.
    """
    named = how.normalizer or ""
    semantic = {"": measure.normalizer, "theoretical": measure.theoretical}.get(named, named)
    lexical = "max" if named in ("", "theoretical") else named
    dot = (lambda raw: raw) if measure.is_dot else None
    legs = [
        RankedLeg(name, lists[name], weight, lexical)
        if name == LEXICAL
        else RankedLeg(name, lists[name], weight, semantic, dot)
        for name, weight in weights.items()
    ]
    if how.fusion == "linear":
        return linear_fusion(legs, how.combination)
    if how.fusion == "rrf":
        return reciprocal_rank_fusion(legs, how.rank_constant)
    fused: list[FusedHit] = find(FUSIONS, how.fusion)(legs)
    return fused


def _cut(hybrid: Hybrid, fused: list[FusedHit]) -> list[FusedHit]:
    if hybrid.min_score is not None:
        fused = [one for one in fused if one.score >= hybrid.min_score]
    return fused if hybrid.autocut is None else autocut(fused, hybrid.autocut)


def _best_first(scores: Scores) -> dict[Key, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
