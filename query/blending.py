"""Ranks by the short `hybrid` form: BM25 and nearest passages, by default with both true scores of every candidate."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from esblend.errors import EncodingError, InvalidRequest, ModelError
from esblend.plugins import FUSIONS, find
from mappings.attachment import Attachment
from query.asking import Asker, scores_of, server_fault, whole
from query.embedder import QueryEmbedder, Vector
from query.fusion import Fused, Key, RankedLeg, Scores, autocut, linear_fusion, reciprocal_rank_fusion
from query.measures import MEASURES, Measure, measure_of
from query.metadata import Target
from query.plan import (
    LEXICAL,
    SEMANTIC,
    best_passage_clause,
    exact_semantic_leg,
    filtered,
    leaf_body,
    lexical_leg,
    semantic_leg,
    weights_of,
    window_of,
    with_both_scores,
)
from query.ranking import Ranking, rerank
from query.reranker import Reranker
from query.sizes import Sizes
from query.tree import Hybrid, KnnLeg, StandardLeg

log = structlog.get_logger()


@dataclass(frozen=True)
class HybridLegs:
    """What the legs gave; `vector` is None, and the weight 0, where the semantic leg was not asked or failed."""

    lexical: Scores
    semantic: Scores
    nearest: list[Key]
    """What the semantic leg found by itself."""
    vector: Vector | None
    weights: tuple[float, float]


@dataclass
class HybridRanking:
    """One search by `hybrid`."""

    asker: Asker
    embedder: QueryEmbedder
    reranker: Reranker
    sizes: Sizes

    async def run(self, hybrid: Hybrid, targets: Sequence[Target]) -> Ranking:
        """`targets`: the indices to search, together where they share an attachment. Raises EsblendError."""
        search = self.asker.search
        if len(targets) > 1:
            return await self._several(hybrid, targets)
        [target] = targets
        attachment = target.attachment
        lists, legs = await self._lists(hybrid, target)
        fused = self._blended(hybrid, attachment, lists, legs.weights)
        if hybrid.rerank is not None:
            window = hybrid.rerank.window or max(10, search.start + search.size)
            fused = await rerank(
                self.asker, self.reranker, "rerank", hybrid.query, attachment.source_fields, hybrid.rerank.model, fused[:window]
            )  # fmt: skip
        return Ranking(
            fused=_cut(hybrid, fused),
            match_queries=self._matches(hybrid, target) if legs.weights[0] else [],
            nearest=legs.nearest,
            passages=best_passage_clause(attachment, legs.vector)
            if legs.vector is not None and attachment.is_nested
            else None,
            attachment=attachment,
        )

    async def _several(self, hybrid: Hybrid, targets: Sequence[Target]) -> Ranking:
        """Indices with different attachments: each gives its candidates, all are blended as one list."""
        if hybrid.rerank is not None or hybrid.inner_hits:
            raise InvalidRequest("[hybrid.rerank] and [hybrid.inner_hits] need indices that share one attachment")
        if len({repr(target.attachment.defaults) for target in targets}) > 1:
            raise InvalidRequest("the indices have different query defaults; search them one by one")
        if len({target.attachment.generation.vector.similarity for target in targets}) > 1:
            raise InvalidRequest("the indices compare vectors by different similarities; search them one by one")
        lexical: dict[Key, float] = {}
        semantic: dict[Key, float] = {}
        matches, nearest, weights = [], [], (0.0, 0.0)
        for target in targets:
            only = {"terms": {"_index": list(target.indices)}}
            mine = replace(hybrid, filters=(*hybrid.filters, only))
            lists, legs = await self._lists(mine, target)
            lexical.update(lists[0])
            semantic.update(lists[1])
            matches += self._matches(mine, target) if legs.weights[0] else []
            nearest += legs.nearest
            weights = max(weights, legs.weights, key=lambda one: one[1])
        both = (_best_first(lexical), _best_first(semantic))
        fused = self._blended(hybrid, targets[0].attachment, both, weights)
        return Ranking(fused=_cut(hybrid, fused), match_queries=matches, nearest=nearest)

    def _matches(self, hybrid: Hybrid, target: Target) -> list[dict[str, Any]]:
        leg = lexical_leg(hybrid, target)
        return [filtered(leg.query, leg.filters)]

    def _blended(
        self, hybrid: Hybrid, attachment: Attachment, lists: tuple[Scores, Scores], weights: tuple[float, float]
    ) -> list[Fused]:
        began = time.perf_counter()
        fused = blend(lists, weights, blending_of(hybrid, attachment), measure_of(attachment))
        self.asker.took("fusion", began)
        return fused

    async def _lists(self, hybrid: Hybrid, target: Target) -> tuple[tuple[Scores, Scores], HybridLegs]:
        """(BM25, nearness) of the candidates, and what the legs gave."""
        attachment = target.attachment
        lexical = lexical_leg(hybrid, target)
        is_exact = blending_of(hybrid, attachment).fusion != "rrf" and hybrid.blending == "exact"
        legs = await self._ask_legs(hybrid, lexical, attachment, is_exact=is_exact)
        return (legs.lexical, legs.semantic), legs

    async def _ask_legs(
        self, hybrid: Hybrid, lexical: StandardLeg, attachment: Attachment, *, is_exact: bool
    ) -> HybridLegs:
        """Both legs in one request; a leg of weight 0 is not asked. When the semantic leg fails, the lexical one answers alone."""
        search = self.asker.search
        window, weights = window_of(hybrid, attachment, search), weights_of(hybrid, attachment)
        lexical_body = leaf_body(lexical, window, search)
        # Counting takes no longer than the encoder, which runs at the same time.
        vector, few = (
            await asyncio.gather(self._embed(hybrid.query, attachment), self.sizes.few(self.asker, hybrid.filters))
            if weights[1]
            else (None, None)
        )
        if vector is not None:
            semantic = self._semantic_leg(hybrid, attachment, vector, window, few)
            asked = [leaf_body(semantic, window, search), *([lexical_body] if weights[0] else [])]
            if is_exact:
                asked = [with_both_scores(body, lexical, attachment, vector) for body in asked]
            responses = await self.asker.raw("legs", asked, named_scores=is_exact)
            fault = server_fault(responses[0])
            if fault is None:
                found = [whole(response) for response in responses]
                nearest = list(scores_of(found[0]))
                value = measure_of(attachment).of_knn if few is None else measure_of(attachment).of_script
                if is_exact:
                    bm25, near = _true_scores(found, attachment)
                    return HybridLegs(bm25 if weights[0] else {}, near, nearest, vector, weights)
                near = {key: value(score) for key, score in scores_of(found[0]).items()}
                return HybridLegs(scores_of(found[1]) if weights[0] else {}, near, nearest, vector, weights)
            self.asker.degrade(SEMANTIC, fault)
        [response] = await self.asker.ask("legs", [lexical_body])
        return HybridLegs(scores_of(response), {}, [], None, (1.0, 0.0))

    def _semantic_leg(
        self, hybrid: Hybrid, attachment: Attachment, vector: Vector, window: int, few: int | None
    ) -> StandardLeg | KnnLeg:
        if few is None:
            self.asker.plan[SEMANTIC] = "approximate kNN"
            return semantic_leg(hybrid, attachment, vector, window)
        passing = "pass the filters" if hybrid.filters else "are there"
        self.asker.plan[SEMANTIC] = (
            f"exact: {few} documents {passing}, at most {self.sizes.most} are compared one by one"
        )
        return exact_semantic_leg(hybrid, attachment, vector)

    async def _embed(self, text: str, attachment: Attachment) -> Vector | None:
        began = time.perf_counter()
        try:
            vector = await self.embedder.embed(text, attachment.generation)
        except (ModelError, EncodingError) as error:
            log.warning("searching without the semantic leg", cause=error.reason)
            self.asker.degrade(SEMANTIC, error.reason)
            return None
        self.asker.took("encode", began)
        return vector


def _true_scores(responses: Sequence[dict[str, Any]], attachment: Attachment) -> tuple[Scores, Scores]:
    """(BM25, nearness) of every candidate; each list best first, a document that a leg does not match left out."""
    value = measure_of(attachment).of_script
    hits = [hit for response in responses for hit in response["hits"]["hits"]]
    named = {Key(hit["_index"], hit["_id"]): hit.get("matched_queries") or {} for hit in hits}
    bm25 = {key: scores[LEXICAL] for key, scores in named.items() if LEXICAL in scores}
    near = {key: value(scores[SEMANTIC]) for key, scores in named.items() if SEMANTIC in scores}
    return _best_first(bm25), _best_first(near)


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
    lists: tuple[Scores, Scores],
    weights: tuple[float, float],
    how: Blending = Blending(),
    measure: Measure = MEASURES["dot_product"],
) -> list[Fused]:
    """Fuse (BM25, nearness) of a hybrid query.

    By default score = w0 * BM25 / (the query's highest BM25 among the candidates) + w1 * dot product. The
    `theoretical` normaliser takes the bounds that are known: the same for BM25, and (dot + 1) / 2. Any other is applied to
    both lists. A document without vectors gets 0 from the semantic leg.
    """
    named = how.normalizer or ""
    semantic = {"": measure.normalizer, "theoretical": measure.theoretical}.get(named, named)
    lexical = "max" if named in ("", "theoretical") else named
    legs = [
        RankedLeg(LEXICAL, lists[0], weights[0], lexical),
        RankedLeg(SEMANTIC, lists[1], weights[1], semantic, dot=(lambda raw: raw) if measure.is_dot else None),
    ]
    if how.fusion == "linear":
        return linear_fusion(legs, how.combination)
    if how.fusion == "rrf":
        return reciprocal_rank_fusion(legs, how.rank_constant)
    fused: list[Fused] = find(FUSIONS, how.fusion)(legs)
    return fused


def _cut(hybrid: Hybrid, fused: list[Fused]) -> list[Fused]:
    if hybrid.min_score is not None:
        fused = [one for one in fused if one.score >= hybrid.min_score]
    return fused if hybrid.autocut is None else autocut(fused, hybrid.autocut)


def _best_first(scores: Scores) -> dict[Key, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
