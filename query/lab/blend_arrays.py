"""Blends the candidates of all queries at once with arrays, as `query.fusion.blend` does for one query; for tuning and curves.

A row is a query, a column a candidate. Columns are in the order of ties: by lexical rank, then by semantic rank.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esblend.errors import InvalidRequest
from query.fusion.blend import CALIBRATED, RAW_DOT, THEORETICAL
from query.lab.candidates import Candidates
from query.lab.judgements import Judged
from query.plan.similarity import SIMILARITY_SCALES, SimilarityScale

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
DEPTH = 10
"""Hits that count: the measure is nDCG@10."""
_EPSILON = 1e-9


@dataclass(frozen=True)
class Blend:
    """Settings of a `hybrid` query that change the order of given candidates."""

    alpha: float = 0.65
    fusion: str = "linear"
    normalizer: str = CALIBRATED
    window: int = 100
    rank_constant: int = 60

    def options(self) -> dict[str, Any]:
        """The settings as options of `hybrid`. Every option is set, so that the attachment's defaults have no effect."""
        options: dict[str, Any] = {"alpha": self.alpha, "fusion": self.fusion, "rank_window_size": self.window}
        if self.fusion == "rrf":
            return {**options, "rank_constant": self.rank_constant}
        return {**options, "normalizer": self.normalizer}


@dataclass(frozen=True)
class CandidateArrays:
    """(queries, candidates) each; NaN for a candidate that a leg lacks."""

    ids: tuple[str, ...]
    """The ids of the queries, in the order of the rows."""
    lexical: Array
    semantic: Array
    calibrated: Array
    lexical_rank: Array
    semantic_rank: Array
    """Ranks from 1; infinite for a candidate that the leg lacks."""
    gain: Array
    ideal: Array
    """(queries,): the highest possible discounted gain."""
    scale: SimilarityScale = SIMILARITY_SCALES["dot_product"]
    """The scale of the scores in `semantic`."""

    def ndcg(self, blend: Blend) -> dict[str, float]:
        """nDCG@10 of each query under a blend, as the gateway would rank these candidates."""
        scores = self._scores(blend)
        # Equal scores: the earlier column first, or the better rank without a lexical leg. The step is far below any
        # difference that is not rounding.
        last = scores.shape[1]
        rank = np.minimum(self.semantic_rank, last) if blend.alpha == 1 else np.arange(last)
        scores = scores - 1e-12 * rank
        depth = min(DEPTH, scores.shape[1])
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        best_scores = np.take_along_axis(scores, best, axis=1)
        order = np.argsort(-best_scores, axis=1)
        best = np.take_along_axis(best, order, axis=1)
        is_hit = np.isfinite(np.take_along_axis(scores, best, axis=1))
        gains = np.where(is_hit, np.take_along_axis(self.gain, best, axis=1), 0.0)
        total = gains @ (1 / np.log2(np.arange(2, depth + 2)))
        values = np.divide(total, self.ideal, out=np.zeros_like(total), where=self.ideal > 0)
        return dict(zip(self.ids, values.tolist(), strict=True))

    def _scores(self, blend: Blend) -> Array:
        """The fused score; minus infinity for a candidate outside the window of both legs."""
        # A leg of weight 0 is not sent, and gives no candidates.
        lexical = (self.lexical_rank <= blend.window) & (blend.alpha < 1)
        semantic = (self.semantic_rank <= blend.window) & (blend.alpha > 0)
        if blend.fusion == "rrf":
            parts = [
                np.where(mask, weight / (blend.rank_constant + ranks), 0.0)
                for mask, weight, ranks in (
                    (lexical, 1 - blend.alpha, self.lexical_rank),
                    (semantic, blend.alpha, self.semantic_rank),
                )
            ]
            return np.where(lexical | semantic, parts[0] + parts[1], -np.inf)
        is_candidate = lexical | semantic
        of_lexical, of_semantic = _NORMALIZERS.get(blend.normalizer, (None, None))
        if of_lexical is None or of_semantic is None:
            raise InvalidRequest(f"the lab cannot blend with [normalizer: {blend.normalizer}]")
        own = {RAW_DOT: self.scale.raw_dot, THEORETICAL: self.scale.theoretical}.get(blend.normalizer)
        if own is not None:
            of_semantic = _BY_NAME[own]
        raw = self.calibrated if blend.normalizer == CALIBRATED else self.semantic
        parts = [
            weight * normalize(values, is_candidate & np.isfinite(values) & (weight > 0))
            for weight, normalize, values in (
                (1 - blend.alpha, of_lexical, self.lexical),
                (blend.alpha, of_semantic, raw),
            )
        ]
        return np.where(is_candidate, parts[0] + parts[1], -np.inf)


def to_arrays(candidates: Mapping[str, Candidates], judged: Judged, similarity: str = "dot_product") -> CandidateArrays:
    """The candidates of all queries, and the gain of each according to the judgements. `similarity`: of the vectors."""
    ids = tuple(candidates)
    width = max((len({*legs.lexical, *legs.semantic}) for legs in candidates.values()), default=0) or 1
    shape = (len(ids), width)
    lexical, semantic, calibrated = (np.full(shape, np.nan) for _ in range(3))
    lexical_rank, semantic_rank = np.full(shape, np.inf), np.full(shape, np.inf)
    gain, ideal = np.zeros(shape), np.zeros(len(ids))
    for row, id_ in enumerate(ids):
        legs = candidates[id_]
        grades = {document: max(0, grade) for document, grade in judged.grades[id_].items()}
        # Documents of the lexical list first, then the others: the order that breaks ties.
        keys = list(dict.fromkeys([*legs.lexical, *legs.semantic]))
        lexical[row, : len(keys)] = [legs.lexical.get(key, np.nan) for key in keys]
        semantic[row, : len(keys)] = [legs.semantic.get(key, np.nan) for key in keys]
        calibrated[row, : len(keys)] = [legs.calibrated.get(key, np.nan) for key in keys]
        gain[row, : len(keys)] = [grades.get(key.id, 0) for key in keys]
        for ranks, scores in ((lexical_rank, legs.lexical), (semantic_rank, legs.semantic)):
            rank_of = {key: rank for rank, key in enumerate(scores, 1)}
            ranks[row, : len(keys)] = [rank_of.get(key, np.inf) for key in keys]
        best = sorted(grades.values(), reverse=True)[:DEPTH]
        ideal[row] = sum(grade / np.log2(rank + 1) for rank, grade in enumerate(best, 1))
    scale = SIMILARITY_SCALES[similarity]
    return CandidateArrays(ids, lexical, semantic, calibrated, lexical_rank, semantic_rank, gain, ideal, scale)


ArrayNormalize = Callable[[Array, Mask], Array]


def _none(values: Array, mask: Mask) -> Array:
    return np.where(mask, values, 0.0)


def _unit_dot(values: Array, mask: Mask) -> Array:
    return np.where(mask, (values + 1) / 2, 0.0)


def _max(values: Array, mask: Mask) -> Array:
    high = np.max(values, axis=1, where=mask, initial=-np.inf)[:, None]
    scale = np.where(high > _EPSILON, high, np.inf)
    return np.where(mask, values / scale, 0.0)


def _minmax(values: Array, mask: Mask) -> Array:
    high = np.max(values, axis=1, where=mask, initial=-np.inf)[:, None]
    low = np.min(values, axis=1, where=mask, initial=np.inf)[:, None]
    spread = high - low
    scaled = np.where(spread < _EPSILON, 1.0, (values - low) / np.where(spread < _EPSILON, 1.0, spread))
    return np.where(mask, scaled, 0.0)


def _l2_norm(values: Array, mask: Mask) -> Array:
    length = np.sqrt(np.sum(values**2, axis=1, where=mask))[:, None]
    return np.where(mask, values / np.where(length > _EPSILON, length, 1.0), 0.0)


def _z_score(values: Array, mask: Mask) -> Array:
    mean, deviation = _mean_and_deviation(values, mask)
    is_spread = deviation > _EPSILON
    return _with_lowest(np.where(is_spread, (values - mean) / np.where(is_spread, deviation, 1.0), 0.0), mask)


def _dbsf(values: Array, mask: Mask) -> Array:
    mean, deviation = _mean_and_deviation(values, mask)
    is_spread = deviation > _EPSILON
    scaled = (values - mean + 3 * deviation) / np.where(is_spread, 6 * deviation, 1.0)
    return _with_lowest(np.where(is_spread, scaled, 0.5), mask)


def _mean_and_deviation(values: Array, mask: Mask) -> tuple[Array, Array]:
    count = np.maximum(mask.sum(axis=1), 1)[:, None]
    mean = np.sum(values, axis=1, where=mask)[:, None] / count
    deviation = np.sqrt(np.sum((values - mean) ** 2, axis=1, where=mask)[:, None] / count)
    return mean, deviation


def _with_lowest(scaled: Array, mask: Mask) -> Array:
    """Scores in which absent candidates have the lowest of their row, or 0 (see `query.fusion.normalizers.absent_value`)."""
    lowest = np.min(scaled, axis=1, where=mask, initial=0.0)[:, None]
    return np.where(mask, scaled, lowest)


_BY_NAME: dict[str, ArrayNormalize] = {
    "none": _none,
    "unit_dot": _unit_dot,
    "minmax": _minmax,
    "l2_norm": _l2_norm,
    "z_score": _z_score,
    "dbsf": _dbsf,
}
_NORMALIZERS: dict[str, tuple[ArrayNormalize, ArrayNormalize]] = {
    CALIBRATED: (_max, _none),
    RAW_DOT: (_max, _none),
    THEORETICAL: (_max, _unit_dot),
    **{name: (_BY_NAME[name], _BY_NAME[name]) for name in ("none", "minmax", "l2_norm", "z_score", "dbsf")},
}
"""Normalisers of the lexical and of the semantic leg; `CandidateArrays.scale` decides the latter for RAW_DOT and THEORETICAL."""
