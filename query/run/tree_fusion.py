"""Fuses the ranked lists of a retriever tree, level by level."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from query.fusion.linear import linear_fusion
from query.fusion.ranked_lists import FusedHit, Key, LegContribution, Method, RankedLeg, Scores
from query.fusion.rrf import reciprocal_rank_fusion
from query.language.tree import Fusion, KnnLeg, Leg, RrfLeg
from query.plan.similarity import SIMILARITY_SCALES, Score


@dataclass(frozen=True)
class RankedList:
    """The list of a leg directly below a fusion."""

    scores: Scores
    hit_of: Callable[[Key], FusedHit | None]
    """How the score of a document was computed; asked for the hits that are explained."""


def list_of_leaf(name: str, scores: Scores, position: int) -> RankedList:
    """`position`: of the leaf among all leaves of the tree."""

    @cache
    def hits() -> dict[Key, FusedHit]:
        return {hit.key: hit for hit in ranked_leaf(name, scores, position)}

    return RankedList(scores, lambda key: hits().get(key))


def list_of_hits(hits: Sequence[FusedHit]) -> RankedList:
    """The list of a fusion or a wrapper."""
    by_key = {hit.key: hit for hit in hits}
    return RankedList({hit.key: hit.score for hit in hits}, by_key.get)


def ranked_leaf(name: str, scores: Scores, position: int | None = None) -> list[FusedHit]:
    """`position`: of the leaf among all leaves of the tree."""
    method = Method("leg", leaf=position)
    return [
        FusedHit(key, score, (LegContribution(name, 1.0, rank, score, score, score),), method)
        for rank, (key, score) in enumerate(scores.items(), 1)
    ]


def fuse(leg: Fusion, inner: Sequence[RankedList], most: int | None = None) -> list[FusedHit]:
    """Fuse the lists of the legs directly below a fusion, each cut to its window. `most`: see `fuse_lists`."""
    legs = [
        RankedLeg(
            weighted.leg.name,
            dict(islice(ranked.scores.items(), leg.window)),
            weighted.weight,
            weighted.normalizer,
            _dot_of(weighted.leg),
            inner=ranked.hit_of,
        )
        for weighted, ranked in zip(leg.legs, inner, strict=True)
    ]
    fused = (
        reciprocal_rank_fusion(legs, leg.rank_constant, single_precision=True, most=most)
        if isinstance(leg, RrfLeg)
        else linear_fusion(legs, leg.combination, single_precision=True, most=most)
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


def _dot_of(leg: Leg) -> Score | None:
    """Turns a leg's score back into the dot product, if it has one."""
    scale = SIMILARITY_SCALES.get(leg.similarity or "") if isinstance(leg, KnnLeg) else None
    return scale.of_knn if scale is not None and scale.is_dot else None
