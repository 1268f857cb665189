"""Normalisers: bring the raw scores of a ranked list to a common scale."""

import math
from collections.abc import Callable

from esblend.errors import InvalidRequest
from query.fusion.ranked_lists import Key, Scores

_EPSILON = 1e-9


def normalize(scores: Scores, normalizer: str) -> dict[Key, float]:
    """Bring raw scores to a common scale. Raises InvalidRequest on an unknown name.

    none: as they are. minmax: (s - min) / (max - min), 1 where all are equal (Elasticsearch). l2_norm: s / sqrt(sum s^2)
    (Elasticsearch). z_score: (s - mean) / standard deviation, 0 where all are equal. dbsf: (s - (mean - 3 standard
    deviations)) / (6 standard deviations), 0.5 where all are equal (distribution-based score fusion, Mazzeschi 2023). max:
    s / max, for scores whose lower bound is 0; unit_dot: (s + 1) / 2, for dot products of unit vectors: together they are
    the theoretical min-max of Bruch et al. (TOIS 2023), with the query's own maximum for BM25.
    """
    function = NORMALIZERS.get(normalizer)
    if function is None:
        raise InvalidRequest(f"unknown normalizer [{normalizer}]; there are {', '.join(NORMALIZERS)}")
    return function(scores) if scores else {}


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
    mean = math.fsum(scores.values()) / len(scores)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in scores.values()) / len(scores))
    return {key: (value - mean) / deviation if deviation > _EPSILON else 0.0 for key, value in scores.items()}


def _dbsf(scores: Scores) -> dict[Key, float]:
    mean = math.fsum(scores.values()) / len(scores)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in scores.values()) / len(scores))
    if deviation <= _EPSILON:
        return dict.fromkeys(scores, 0.5)
    return {key: (value - mean + 3 * deviation) / (6 * deviation) for key, value in scores.items()}


def _unit_dot(scores: Scores) -> dict[Key, float]:
    return {key: (value + 1) / 2 for key, value in scores.items()}


def _max(scores: Scores) -> dict[Key, float]:
    high = max(scores.values())
    return {key: value / high if high > _EPSILON else 0.0 for key, value in scores.items()}


NORMALIZERS: dict[str, Callable[[Scores], dict[Key, float]]] = {
    "none": _none,
    "minmax": _minmax,
    "l2_norm": _l2_norm,
    "z_score": _z_score,
    "dbsf": _dbsf,
    "max": _max,
    "unit_dot": _unit_dot,
}
