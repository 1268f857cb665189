"""Normalisers: bring the raw scores of a ranked list to a common scale. Each keeps the order of the list."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from esblend.errors import InvalidRequest
from query.fusion.ranked_lists import Key, Scores

Normalize = Callable[[Scores], dict[Key, float]]
OPENSEARCH_MIN_SCORE = 0.001
"""OpenSearch's normalization processor gives at least this to each document of a list."""
_EPSILON = 1e-9
_SMALLEST_DISTANCE = 1e-3
"""The lower limit of `Calibration.distance`. Rounding errors of dot products of float32 vectors are about 1e-7."""


def normalize(scores: Scores, normalizer: str | Normalize) -> dict[Key, float]:
    """Bring raw scores to a common scale. Raises InvalidRequest on an unknown name.

    none: unchanged. minmax: (s - min) / (max - min), 1 if all are equal (Elasticsearch). l2_norm: s / sqrt(sum s^2)
    (Elasticsearch). z_score: (s - mean) / standard deviation, 0 if all are equal. dbsf: (s - (mean - 3 standard
    deviations)) / (6 standard deviations), 0.5 if all are equal (distribution-based score fusion, Mazzeschi 2023); scores
    beyond three standard deviations fall outside [0, 1]. max: s / max, for scores whose lower bound is 0. unit_dot:
    (s + 1) / 2, for dot products of unit vectors. max and unit_dot together are the theoretical min-max of Bruch et al. (TOIS
    2023), with the query's own maximum for BM25. opensearch_min_max, opensearch_z_score: minmax and z_score with the constants
    of OpenSearch's normalization processor, at least 0.001, and 1 if all are equal.
    """
    if not scores:
        return {}
    if callable(normalizer):
        return normalizer(scores)
    function = NORMALIZERS.get(normalizer)
    if function is None:
        raise InvalidRequest(f"unknown normalizer [{normalizer}]; known: {', '.join(NORMALIZERS)}")
    return function(scores)


def absent_value(normalizer: str | Normalize, normalized: Mapping[Key, float], *, is_cut: bool = False) -> float:
    """The normalised score of a document that the list lacks: 0, or the lowest of the list if that is lower.

    z_score and dbsf go below 0 for documents of the list; 0 would rank a document without a match above them. So do dot products
    and calibrated values in a list that `is_cut`, which lacks documents because they are less similar. A list that is not cut
    lacks documents that have no vectors, of which nothing is known.
    """
    if not is_cut and normalizer not in ("z_score", "dbsf"):
        return 0.0
    return min(0.0, min(normalized.values(), default=0.0))


@dataclass(frozen=True)
class Calibration:
    """Calibrated similarity: 0 for the similarity of a random document to the query, 1 for a perfect match.

    calibrated(s) = (s - mean) / (perfect - mean). A direction that all vectors share changes `mean` and nothing else, so values
    of different encoders, and of different queries, are comparable.
    """

    mean: float
    """The query's mean similarity to the documents."""
    perfect: float = 1.0
    of_raw: Callable[[float], float] = lambda raw: raw
    """The similarity behind a raw score of the list."""
    scale: float = 1.0
    """The size of the similarities, which rounding errors are relative to: 1 for dot products of unit vectors."""

    @property
    def distance(self) -> float:
        """The distance from a random document to a perfect match."""
        # To a query that equals nearly every document all of them are alike: the distance from random to perfect vanishes, and
        # dividing by it would show rounding errors as large values. The floor keeps the order.
        return max(self.perfect - self.mean, _SMALLEST_DISTANCE * self.scale)

    @cached_property
    def calibrate(self) -> Callable[[float], float]:
        """Turns a raw score into a calibrated value."""
        of_raw, mean, distance = self.of_raw, self.mean, self.distance
        return lambda raw: (of_raw(raw) - mean) / distance


def calibrated(calibrations: Mapping[str, Calibration]) -> Normalize:
    """A normaliser by each index's own calibration. An index without one counts as if its mean were 0."""
    unknown = Calibration(0.0)

    def by_index(scores: Scores) -> dict[Key, float]:
        by_name = {index: calibrations.get(index, unknown).calibrate for index in {key.index for key in scores}}
        return {key: by_name[key.index](raw) for key, raw in scores.items()}

    return by_index


def scaled_by(highest: float) -> Normalize:
    """`max`, where the list may lack the document with the highest score."""

    def scale(scores: Scores) -> dict[Key, float]:
        return {key: value / highest for key, value in scores.items()}

    return scale


def _none(scores: Scores) -> dict[Key, float]:
    return dict(scores)


def _minmax(scores: Scores) -> dict[Key, float]:
    low, high = min(scores.values()), max(scores.values())
    if high - low < _EPSILON:
        return dict.fromkeys(scores, 1.0)
    return {key: (value - low) / (high - low) for key, value in scores.items()}


def _l2_norm(scores: Scores) -> dict[Key, float]:
    length = math.sqrt(math.fsum(value * value for value in scores.values()))
    return {key: value / length for key, value in scores.items()} if length > _EPSILON else dict(scores)


def _z_score(scores: Scores) -> dict[Key, float]:
    mean, deviation = _mean_and_deviation(scores)
    return {key: (value - mean) / deviation if deviation > _EPSILON else 0.0 for key, value in scores.items()}


def _dbsf(scores: Scores) -> dict[Key, float]:
    mean, deviation = _mean_and_deviation(scores)
    if deviation <= _EPSILON:
        return dict.fromkeys(scores, 0.5)
    return {key: (value - mean + 3 * deviation) / (6 * deviation) for key, value in scores.items()}


def _unit_dot(scores: Scores) -> dict[Key, float]:
    return {key: (value + 1) / 2 for key, value in scores.items()}


def _max(scores: Scores) -> dict[Key, float]:
    high = max(scores.values())
    return {key: value / high if high > _EPSILON else 0.0 for key, value in scores.items()}


def _opensearch_min_max(scores: Scores) -> dict[Key, float]:
    return {key: max(value, OPENSEARCH_MIN_SCORE) for key, value in _minmax(scores).items()}


def _opensearch_z_score(scores: Scores) -> dict[Key, float]:
    if _mean_and_deviation(scores)[1] <= _EPSILON:
        return dict.fromkeys(scores, 1.0)
    return {key: max(value, OPENSEARCH_MIN_SCORE) for key, value in _z_score(scores).items()}


def _mean_and_deviation(scores: Scores) -> tuple[float, float]:
    mean = math.fsum(scores.values()) / len(scores)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in scores.values()) / len(scores))


NORMALIZERS: dict[str, Normalize] = {
    "none": _none,
    "minmax": _minmax,
    "l2_norm": _l2_norm,
    "z_score": _z_score,
    "dbsf": _dbsf,
    "max": _max,
    "unit_dot": _unit_dot,
    "opensearch_min_max": _opensearch_min_max,
    "opensearch_z_score": _opensearch_z_score,
}
