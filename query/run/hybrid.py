"""Ranks by the short `hybrid` form: BM25 and nearest passages, by default with both exact scores of every candidate.

query vector, mean vector, small target? (at the same time) -> legs in one request -> calibration -> blend -> rerank, cut
if only the first page is needed: see `one_request` and `numbered_page`
"""

import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import structlog

from esblend.errors import EncodingError, InvalidRequest, ModelError, UpstreamError
from esblend.event_loop import off_loop
from esblend.plugins import FUSIONS, find
from mappings.attachment import Attachment
from mappings.mean_vectors import MeanVector
from query.fusion.autocut import autocut
from query.fusion.blend import Blending, SemanticScale, blend
from query.fusion.ranked_lists import FusedHit, Scores
from query.language.tree import Hybrid, KnnLeg, StandardLeg
from query.plan.hybrid_legs import (
    LEXICAL,
    MAX_WORDS,
    SEMANTIC,
    blending_of,
    exact_semantic_leg,
    is_exact_blend,
    is_fetched_by_number,
    lexical_leg,
    semantic_filters,
    semantic_leg,
    shown_by,
    weights_of,
    window_of,
    with_fewer_words,
    with_true_scores,
)
from query.plan.legs import leaf_body
from query.plan.one_request import is_possible
from query.plan.sequence_numbers import NumbersMissing, numbered
from query.plan.similarity import calibration_of, similarity_scale
from query.plan.tree_queries import matching
from query.run.boost import boosted
from query.run.candidates import MANY_CANDIDATES, RankedCandidates
from query.run.cross_encoder import Reranker
from query.run.exact_knn import ExactKnn
from query.run.failed_legs import has_too_many_clauses
from query.run.hybrid_lists import HybridLegs, calibrated, shared_calibrations
from query.run.mean_vectors import MeanVectors
from query.run.numbered_page import numbered_page
from query.run.one_request import page_in_one_request, read_lexical_window
from query.run.query_encoder import QueryEmbedder, Vector, mean_of
from query.run.requests import LegKind, SearchRequests, ranked_lists, server_fault, whole
from query.run.rerank import behind, rerank
from query.run.together import together
from query.run.true_scores import best_first, total_of_legs, true_scores
from query.targets.metadata import Requester
from query.targets.target import Target

log = structlog.get_logger()


@dataclass(frozen=True)
class _Prepared:
    """What the semantic leg needs."""

    vector: Vector | None
    """None if the encoder failed."""
    count: int | None
    """The number of documents if they are few enough for exact kNN."""
    mean: MeanVector | None
    lexical: dict[str, Any] | None = None
    """The lexical leg's response, if it was requested while the query was encoded."""
    has_lost_numbers: bool = False
    """Whether a candidate was written between two requests of the search, so that its sequence number no longer exists."""


@dataclass
class HybridSearch:
    """One search by `hybrid`."""

    requests: SearchRequests
    embedder: QueryEmbedder
    reranker: Reranker
    exact_knn: ExactKnn
    mean_vectors: MeanVectors
    requester: Requester
    is_page_enough: bool = False
    """Whether the candidates after the page are not needed."""
    is_numbered: bool = False
    """Whether sequence numbers identify the candidates."""

    async def run(self, hybrid: Hybrid, targets: Sequence[Target]) -> RankedCandidates:
        """`targets`: the indices to search, together where they share an attachment. Raises EsblendError."""
        if hybrid.profile is not None:
            targets = [target.with_profile(hybrid.profile) for target in targets]
        try:
            return await self._run(hybrid, targets)
        except UpstreamError as error:
            fewer = with_fewer_words(hybrid) if has_too_many_clauses(error) else hybrid
            if fewer is hybrid:
                raise
            self.requests.degrade(
                LEXICAL,
                f"Elasticsearch allows fewer clauses than the text has words; the first {MAX_WORDS} are searched",
            )
            return await self._run(fewer, targets)

    async def _run(self, hybrid: Hybrid, targets: Sequence[Target]) -> RankedCandidates:
        if len(targets) > 1:
            return await self._run_targets(hybrid, targets)
        [target] = targets
        prepared, page = await self._page(hybrid, target) if self.is_page_enough else (None, None)
        if page is not None:
            return page
        has_lost_numbers = prepared is not None and prepared.has_lost_numbers
        if self.is_page_enough and not has_lost_numbers and is_fetched_by_number(hybrid, target, self.requests.search):
            page = await self._numbered_page(hybrid, target, prepared)
        return page or await self._candidates(hybrid, target, prepared)

    async def _numbered_page(
        self, hybrid: Hybrid, target: Target, prepared: _Prepared | None
    ) -> RankedCandidates | None:
        """None if ids must identify the candidates."""
        self.is_numbered = True
        try:
            return await numbered_page(self.requests, self._candidates(hybrid, target, prepared))
        finally:
            self.is_numbered = False

    async def _candidates(self, hybrid: Hybrid, target: Target, prepared: _Prepared | None) -> RankedCandidates:
        attachment = target.attachment
        legs = await self._legs(hybrid, target, prepared=prepared)
        fused = await boosted(self.requests, hybrid.boosts, await self._blend(hybrid, attachment, legs))
        if hybrid.rerank is not None:
            window, text = hybrid.rerank.window, "\n".join(hybrid.texts)
            best = await rerank(
                self.requests, self.reranker, "rerank", text, attachment.source_fields, hybrid.rerank.model, fused[:window]
            )  # fmt: skip
            fused = [*best, *behind(best, fused[window:])]
        return RankedCandidates(
            fused=_cut(hybrid, fused),
            match_queries=[matching(lexical_leg(hybrid, target))] if legs.weights[LEXICAL] else [],
            nearest=legs.nearest,
            vector=legs.vector,
            attachment=attachment,
            shown=shown_by(hybrid),
            listed=list(dict.fromkeys(chain.from_iterable(legs.lists.values()))) if self.is_numbered else (),
            total=legs.total,
            matched=legs.matched,
        )

    async def _page(self, hybrid: Hybrid, target: Target) -> tuple[_Prepared | None, RankedCandidates | None]:
        """The page from one request, if that is possible, and the results of earlier requests. Raises EsblendError."""
        attachment, search = target.attachment, self.requests.search
        weights, blending = weights_of(hybrid, attachment), blending_of(hybrid, attachment)
        window = window_of(hybrid, attachment, search)
        if not is_possible(hybrid, target, search, weights, blending, window) or not self.embedder.has_room:
            return None, None
        self._refuse_unknown_fields(hybrid, target)
        leg = lexical_leg(hybrid, target)
        prepared, lexical = await together(
            self._prepare(hybrid, target, blending), read_lexical_window(self.requests, leg, window)
        )
        if prepared.vector is None or prepared.count is not None or lexical is None:
            return prepared, None
        similarity = attachment.generation.vector.similarity
        calibration = calibration_of(similarity, prepared.vector, prepared.mean)
        before = self.requests.reported()
        try:
            page = await page_in_one_request(
                self.requests, hybrid, leg, target, prepared.vector, calibration, weights, lexical, window
            )
        except NumbersMissing:
            self.requests.begin_again(before)
            return replace(prepared, has_lost_numbers=True), None
        if page is None:
            return prepared, None
        self.requests.plan |= {SEMANTIC: "approximate kNN", "requests": "BM25 during encoding, then one request"}
        shown = (page.hits, page.counts)
        return prepared, RankedCandidates(page.fused, [matching(leg)], [], prepared.vector, attachment, page=shown)

    async def _run_targets(self, hybrid: Hybrid, targets: Sequence[Target]) -> RankedCandidates:
        """Search indices with different attachments, and blend the candidates of all as one list."""
        if hybrid.rerank is not None or hybrid.inner_hits is not None:
            raise InvalidRequest("[hybrid.rerank] and [hybrid.inner_hits] need indices that share one attachment")
        if len({repr(target.attachment.defaults) for target in targets}) > 1:
            raise InvalidRequest("the indices have different query defaults; search them one by one")
        if len({target.attachment.generation.vector.similarity for target in targets}) > 1:
            raise InvalidRequest("the indices compare vectors by different similarities; search them one by one")
        legs_by_target = await together(*(self._legs(_only(hybrid, target), target, apart=True) for target in targets))
        # The weights of a target without a query vector would disable the semantic legs of the other targets.
        weights = next((legs.weights for legs in legs_by_target if not legs.failed), legs_by_target[0].weights)
        lists: dict[str, Scores] = {
            name: best_first({key: score for legs in legs_by_target for key, score in legs.lists.get(name, {}).items()})
            for name in weights
        }
        calibrations = shared_calibrations(targets, legs_by_target)
        blended = HybridLegs(
            lists, [key for legs in legs_by_target for key in legs.nearest], None, weights, calibrations
        )
        fused = await self._blend(hybrid, targets[0].attachment, blended)
        fused = await boosted(self.requests, hybrid.boosts, fused)
        return RankedCandidates(
            fused=_cut(hybrid, fused),
            match_queries=[
                matching(lexical_leg(_only(hybrid, target), target))
                for legs, target in zip(legs_by_target, targets, strict=True)
                if legs.weights[LEXICAL]
            ],
            nearest=blended.nearest,
            shown=shown_by(hybrid),
        )

    async def _blend(self, hybrid: Hybrid, attachment: Attachment, legs: HybridLegs) -> list[FusedHit]:
        began = time.perf_counter()
        scale = similarity_scale(attachment)
        semantic = SemanticScale(legs.calibrations, scale.raw_dot, scale.theoretical, scale.is_dot)
        is_windowed = not is_exact_blend(hybrid, attachment, legs.weights)
        blending = replace(blending_of(hybrid, attachment), is_windowed=is_windowed)
        plugin = None if blending.fusion in ("linear", "rrf") else find(FUSIONS, blending.fusion)
        is_long = sum(map(len, legs.lists.values())) > MANY_CANDIDATES
        most = self.requests.search.size if self.is_numbered else None
        fused = await off_loop(is_long, blend, legs.lists, legs.weights, blending, semantic, plugin, most=most)
        self.requests.took("fusion", began)
        return fused

    async def _legs(
        self, hybrid: Hybrid, target: Target, *, apart: bool = False, prepared: _Prepared | None = None
    ) -> HybridLegs:
        """All legs; a leg of weight 0 is not sent. If the semantic legs fail, the lexical leg ranks alone. The lexical leg needs
        no vector: it runs during encoding, unless each hit carries all true scores.

        `apart`: the search has other targets, whose shards do not know this target's vectors.

        Raises InvalidRequest on a field that no index has.
        """
        self._refuse_unknown_fields(hybrid, target)
        attachment = target.attachment
        own = (*target.indices, *target.unattached) if apart else ()
        weights, blending = weights_of(hybrid, attachment), blending_of(hybrid, attachment)
        if not any(weight for name, weight in weights.items() if name != LEXICAL):
            return await self._lexical_leg(hybrid, target, weights, own)
        if prepared is None:
            is_early = weights[LEXICAL] and not is_exact_blend(hybrid, attachment, weights) and self.embedder.has_room
            prepared = await self._prepare(hybrid, target, blending, own=own if is_early else None)
        if prepared.vector is not None:
            legs = await self._all_legs(hybrid, target, weights, prepared.vector, prepared, own)
            if legs is not None:
                return legs if not blending.is_calibrated else calibrated(legs, target, prepared.vector, prepared.mean)
        alone = {name: 1.0 if name == LEXICAL else 0.0 for name in weights}
        return replace(await self._lexical_leg(hybrid, target, alone, own), failed=True)

    async def _prepare(
        self, hybrid: Hybrid, target: Target, blending: Blending, *, own: Sequence[str] | None = None
    ) -> _Prepared:
        """`own`: the indices of a lexical leg to request at the same time; none if it is requested later. Raises TooManyRequests
        before anything is requested if the queue of texts is too long."""
        self.embedder.refuse_when_full(hybrid.texts, target.attachment.generation)
        parts: list[Coroutine[Any, Any, Any]] = [
            self._embed(hybrid.texts, target.attachment),
            self.exact_knn.count_if_small(self.requests, semantic_filters(hybrid)),
            self._mean_vector(target, blending),
        ]
        if own is not None:
            parts.append(self._early_lexical(hybrid, target, own))
        return _Prepared(*await together(*parts))

    async def _early_lexical(self, hybrid: Hybrid, target: Target, own: Sequence[str]) -> dict[str, Any]:
        body = self._lexical_body(hybrid, target, is_exact=False)
        [response] = await self.requests.legs(["lexical"], [body], indices=[own])
        return response

    async def _lexical_leg(
        self, hybrid: Hybrid, target: Target, weights: Mapping[str, float], own: Sequence[str]
    ) -> HybridLegs:
        body = self._lexical_body(hybrid, target, is_exact=is_exact_blend(hybrid, target.attachment, weights))
        [response] = map(whole, await self.requests.legs(["lexical"], [body], indices=[own]))
        [matches] = await ranked_lists([response])
        lists: dict[str, Scores] = {name: matches if name == LEXICAL else {} for name in weights}
        matched = response["hits"].get("total") if self.is_numbered else None
        return HybridLegs(lists, [], None, weights, matched=matched)

    def _lexical_body(self, hybrid: Hybrid, target: Target, *, is_exact: bool) -> dict[str, Any]:
        """The legs' responses give the total without a counting request, if exact scores show which leg matches each hit. For a
        page by sequence number, the lexical leg always counts its matches."""
        search = self.requests.search
        window = window_of(hybrid, target.attachment, search)
        total = search.track_total_hits if is_exact or self.is_numbered else False
        body = leaf_body(lexical_leg(hybrid, target), window, search, track_total_hits=total)
        return numbered(body) if self.is_numbered else body

    async def _all_legs(
        self,
        hybrid: Hybrid,
        target: Target,
        weights: Mapping[str, float],
        vector: Vector,
        prepared: _Prepared,
        own: Sequence[str],
    ) -> HybridLegs | None:
        """The semantic legs, and the lexical leg unless its weight is 0. None if the server fails on the semantic legs.

        `own`: the target's indices, if there are others.
        """
        count, early = prepared.count, prepared.lexical
        search, attachment = self.requests.search, target.attachment
        is_exact = is_exact_blend(hybrid, attachment, weights)
        window = window_of(hybrid, attachment, search)
        body = leaf_body(self._semantic_leg(hybrid, attachment, vector, window, count), window, search)
        bodies = [numbered(body) if self.is_numbered else body]
        kinds: list[LegKind] = ["semantic"]
        if weights[LEXICAL] and early is None:
            bodies.append(self._lexical_body(hybrid, target, is_exact=is_exact))
            kinds.append("lexical")
        if is_exact:
            lexical = lexical_leg(hybrid, target)
            bodies = [with_true_scores(body, hybrid, lexical, attachment, vector, weights) for body in bodies]
        vectors = target.indices if own or target.unattached else ()
        indices = [vectors, own][: len(bodies)]
        self.requests.plan["requests"] = (
            "the legs in one request" if early is None else "BM25 during encoding, then kNN"
        )
        responses = await self.requests.legs(kinds, bodies, named_scores=is_exact, indices=indices)
        fault = server_fault(responses[0])
        if fault is not None:
            self.requests.degrade(SEMANTIC, fault)
            return None
        semantic, *others = map(whole, responses if early is None else [*responses, early])
        nearest, *matches = await ranked_lists([semantic] if is_exact else [semantic, *others])
        if is_exact:
            is_long = len(nearest) + sum(len(other["hits"]["hits"]) for other in others) > MANY_CANDIDATES
            lists = await off_loop(is_long, true_scores, [semantic, *others], attachment, weights)
            total = total_of_legs(search.track_total_hits, others[0] if others else None, semantic)
            return HybridLegs(lists, list(nearest), vector, weights, total=total)
        scale = similarity_scale(attachment)
        similarity = scale.of_knn if count is None else scale.of_script
        windowed: dict[str, Scores] = {
            LEXICAL: matches[0] if matches else {},
            SEMANTIC: {key: similarity(score) for key, score in nearest.items()},
        }
        matched = others[0]["hits"].get("total") if others else None
        return HybridLegs(windowed, list(nearest), vector, weights, matched=matched)

    def _refuse_unknown_fields(self, hybrid: Hybrid, target: Target) -> None:
        """A query on a field that does not exist matches nothing, without an error."""
        runtime = self.requests.search.common.get("runtime_mappings") or {}
        fields = [name for name in hybrid.fields or () if name.partition("^")[0] not in runtime]
        unknown = ", ".join(f"[{name}]" for name in target.unknown_fields(fields))
        if unknown:
            raise InvalidRequest(
                f"[hybrid.fields] names {unknown}, which no index of the search has as a field outside nested objects; "
                "[hybrid.lexical] accepts any query, also a nested one"
            )

    async def _mean_vector(self, target: Target, blending: Blending) -> MeanVector | None:
        if not blending.is_calibrated:
            return None
        began = time.perf_counter()
        mean = await self.mean_vectors.of(self.requester, target, self.requests.search.pit)
        self.requests.plan["calibration"] = mean.source
        self.requests.took("mean vector", began)
        return mean.mean

    def _semantic_leg(
        self, hybrid: Hybrid, attachment: Attachment, vector: Vector, window: int, count: int | None
    ) -> StandardLeg | KnnLeg:
        if count is None:
            self.requests.plan[SEMANTIC] = "approximate kNN"
            return semantic_leg(hybrid, attachment, vector, window)
        passing = "pass the filters" if semantic_filters(hybrid) else "are there"
        self.requests.plan[SEMANTIC] = (
            f"exact: {count} documents {passing}, at most {self.exact_knn.most} are compared one by one"
        )
        return exact_semantic_leg(hybrid, attachment, vector)

    async def _embed(self, texts: Sequence[str], attachment: Attachment) -> Vector | None:
        """The mean of the texts' vectors, with the length 1 where each of them has it."""
        began = time.perf_counter()
        try:
            embeddings = [self.embedder.embed(text, attachment.generation) for text in texts]
            vectors = [await embeddings[0]] if len(embeddings) == 1 else await together(*embeddings)
        except (ModelError, EncodingError) as error:
            log.warning("searching without the semantic leg", cause=error.reason)
            self.requests.degrade(SEMANTIC, error.reason)
            return None
        self.requests.took("encode", began)
        return mean_of(vectors, is_unit=attachment.generation.form.unit)


def _only(hybrid: Hybrid, target: Target) -> Hybrid:
    """The query for the indices of one target among several."""
    return replace(hybrid, filters=(*hybrid.filters, {"terms": {"_index": [*target.indices, *target.unattached]}}))


def _cut(hybrid: Hybrid, fused: list[FusedHit]) -> list[FusedHit]:
    if hybrid.min_score is not None:
        fused = [hit for hit in fused if hit.score >= hybrid.min_score]
    return fused if hybrid.autocut is None else autocut(fused, hybrid.autocut)
