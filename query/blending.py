"""Ranks by the short `hybrid` form: BM25 and nearest passages, by default with both true scores of every candidate."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from esblend.errors import EncodingError, InvalidRequest, ModelError
from mappings.attachment import Attachment
from query.asking import Asker, scores_of, server_fault, whole
from query.embedder import QueryEmbedder, Vector
from query.fusion import Fused, Key, RankedLeg, Scores, autocut, linear_fusion, reciprocal_rank_fusion
from query.metadata import Target
from query.plan import (
    LEXICAL,
    SEMANTIC,
    best_passage_clause,
    exact_scores_body,
    filtered,
    leaf_body,
    lexical_leg,
    semantic_leg,
    weights_of,
    window_of,
)
from query.ranking import Ranking, rerank
from query.reranker import Reranker
from query.tree import Hybrid, StandardLeg

log = structlog.get_logger()
MAX_IDS = 5000
"""Elasticsearch takes at most `index.max_result_window` (10,000) ids in one query."""
_NORMALIZERS_BY_LEG = {"": ("max", "none"), "theoretical": ("max", "unit_dot")}


@dataclass(frozen=True)
class HybridLegs:
    """What the legs gave; `vector` is None, and the weight 0, where the semantic leg was not asked or failed."""

    lexical: Scores
    semantic: Scores
    vector: Vector | None
    weights: tuple[float, float]


@dataclass
class HybridRanking:
    """One search by `hybrid`."""

    asker: Asker
    embedder: QueryEmbedder
    reranker: Reranker

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
            nearest=list(legs.semantic),
            passages=best_passage_clause(attachment, legs.vector) if legs.vector is not None else None,
            attachment=attachment,
        )

    async def _several(self, hybrid: Hybrid, targets: Sequence[Target]) -> Ranking:
        """Indices with different attachments: each gives its candidates, all are blended as one list."""
        if hybrid.rerank is not None or hybrid.inner_hits:
            raise InvalidRequest("[hybrid.rerank] and [hybrid.inner_hits] need indices that share one attachment")
        if len({repr(target.attachment.defaults) for target in targets}) > 1:
            raise InvalidRequest("the indices have different query defaults; search them one by one")
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
            nearest += list(legs.semantic)
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
        fusion = hybrid.fusion or attachment.defaults.fusion or "linear"
        fused = blend(lists, weights, fusion, hybrid.normalizer, hybrid.combination)
        self.asker.took("fusion", began)
        return fused

    async def _lists(self, hybrid: Hybrid, target: Target) -> tuple[tuple[Scores, Scores], HybridLegs]:
        """(BM25, dot product) of the candidates, and what the legs gave."""
        attachment = target.attachment
        lexical = lexical_leg(hybrid, target)
        legs = await self._ask_legs(hybrid, lexical, attachment)
        lists: tuple[Scores, Scores] = (legs.lexical, {key: 2 * score - 1 for key, score in legs.semantic.items()})
        fusion = hybrid.fusion or attachment.defaults.fusion or "linear"
        if fusion == "linear" and hybrid.blending == "exact" and legs.vector is not None:
            candidates = [*dict.fromkeys([*legs.lexical, *legs.semantic])]
            exact = await self._exact_scores(candidates, lexical, attachment, legs.vector)
            lists = exact if legs.weights[0] else ({}, exact[1])
        return lists, legs

    async def _ask_legs(self, hybrid: Hybrid, lexical: StandardLeg, attachment: Attachment) -> HybridLegs:
        """Both legs in one request; a leg of weight 0 is not asked. When the semantic leg fails, the lexical one answers alone."""
        search = self.asker.search
        window, weights = window_of(hybrid, attachment, search), weights_of(hybrid, attachment)
        lexical_body = leaf_body(lexical, window, search)
        vector = await self._embed(hybrid.query, attachment) if weights[1] else None
        if vector is not None:
            semantic_body = leaf_body(semantic_leg(hybrid, attachment, vector, window), window, search)
            bodies = [semantic_body, lexical_body] if weights[0] else [semantic_body]
            responses = await self.asker.raw("legs", bodies)
            fault = server_fault(responses[0])
            if fault is None:
                found = scores_of(whole(responses[1])) if weights[0] else {}
                return HybridLegs(found, scores_of(whole(responses[0])), vector, weights)
            self.asker.degrade(SEMANTIC, fault)
        [response] = await self.asker.ask("legs", [lexical_body])
        return HybridLegs(scores_of(response), {}, None, (1.0, 0.0))

    async def _embed(self, text: str, attachment: Attachment) -> Vector | None:
        began = time.perf_counter()
        try:
            vector = await self.embedder.embed(text, attachment.generation.model)
        except (ModelError, EncodingError) as error:
            log.warning("searching without the semantic leg", cause=error.reason)
            self.asker.degrade(SEMANTIC, error.reason)
            return None
        self.asker.took("encode", began)
        return vector

    async def _exact_scores(
        self, keys: Sequence[Key], lexical: StandardLeg, attachment: Attachment, vector: Vector
    ) -> tuple[Scores, Scores]:
        """(BM25, dot product) of every candidate; each list best first, a document that a leg does not match left out."""
        chunks = [keys[start : start + MAX_IDS] for start in range(0, len(keys), MAX_IDS)]
        bodies = [exact_scores_body(chunk, lexical, attachment, vector, self.asker.search) for chunk in chunks]
        hits = [
            hit
            for response in await self.asker.ask("exact scores", bodies, named_scores=True)
            for hit in response["hits"]["hits"]
        ]
        named = {Key(hit["_index"], hit["_id"]): hit.get("matched_queries") or {} for hit in hits}
        bm25 = {key: scores[LEXICAL] for key, scores in named.items() if LEXICAL in scores}
        dots = {key: scores[SEMANTIC] - 1 for key, scores in named.items() if SEMANTIC in scores}
        return _best_first(bm25), _best_first(dots)


def blend(
    lists: tuple[Scores, Scores],
    weights: tuple[float, float],
    fusion: str,
    normalizer: str | None,
    combination: str = "sum",
) -> list[Fused]:
    """Fuse (BM25, dot product) of a hybrid query.

    By default score = w0 * BM25 / (the query's highest BM25 among the candidates) + w1 * dot product. The
    `theoretical` normaliser takes the bounds that are known: the same for BM25, and (dot + 1) / 2. Any other is applied to
    both lists. A document without vectors gets 0 from the semantic leg.
    """
    normalizers = _NORMALIZERS_BY_LEG.get(normalizer or "", (normalizer or "", normalizer or ""))
    legs = [
        RankedLeg(LEXICAL, lists[0], weights[0], normalizers[0]),
        RankedLeg(SEMANTIC, lists[1], weights[1], normalizers[1], dot=lambda raw: raw),
    ]
    return reciprocal_rank_fusion(legs) if fusion == "rrf" else linear_fusion(legs, combination)


def _cut(hybrid: Hybrid, fused: list[Fused]) -> list[Fused]:
    if hybrid.min_score is not None:
        fused = [one for one in fused if one.score >= hybrid.min_score]
    return fused if hybrid.autocut is None else autocut(fused, hybrid.autocut)


def _best_first(scores: Scores) -> dict[Key, float]:
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
