"""Fuses ranked lists into one. Pure functions on plain values; every formula names its source."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from esblend.errors import InvalidRequest


class Key(NamedTuple):
    """A document: ids are unique within an index only."""

    index: str  # type: ignore[assignment]  # hides the method of tuples, which nobody needs here
    id: str


Scores = Mapping[Key, float]
"""A ranked list: raw scores by document, best first."""

_EPSILON = 1e-9


class Part(NamedTuple):
    """What one leg adds to a document's score."""

    leg: str
    weight: float
    rank: int | None
    """From 1; None when the leg's list lacks the document."""
    raw: float | None
    normalized: float
    contribution: float
    dot: float | None = None
    """The dot product behind `raw`, where a leg is known to have one."""


class Fused(NamedTuple):
    """A document with its fused score, the exact sum of its parts' contributions."""

    key: Key
    score: float
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class RankedLeg:
    """One leg's list, ready for fusion."""

    name: str
    scores: Scores
    weight: float = 1.0
    normalizer: str = "none"
    dot: Callable[[float], float] | None = None
    """Turns a raw score back to the dot product of unit vectors."""

    def dot_of(self, key: Key) -> float | None:
        return self.dot(self.scores[key]) if self.dot is not None and key in self.scores else None


def reciprocal_rank_fusion(legs: Sequence[RankedLeg], rank_constant: int = 60) -> list[Fused]:
    """Fuse ranked lists by reciprocal rank (Cormack et al., SIGIR 2009), best first.

    score(d) = sum over legs of weight / (rank_constant + rank), rank from 1; a list without d adds 0. Ties go to the
    document that the earlier legs rank better, as in Elasticsearch.
    """
    ranks = [{key: rank for rank, key in enumerate(leg.scores, start=1)} for leg in legs]

    def part(position: int, key: Key) -> Part:
        leg, rank = legs[position], ranks[position].get(key)
        share = 0.0 if rank is None else 1.0 / (rank_constant + rank)
        return Part(leg.name, leg.weight, rank, leg.scores.get(key), share, leg.weight * share, leg.dot_of(key))

    return _fuse(legs, part)


def linear_fusion(legs: Sequence[RankedLeg], combination: str = "sum") -> list[Fused]:
    """Fuse normalised scores, best first. Ties go to the document that the earlier legs rank better.

    sum: score(d) = sum over legs of weight * normalizer(raw score), as Elasticsearch's `linear` retriever; a list without d
    adds 0. The means are those of OpenSearch's normalization processor, w being a leg's weight and s its normalised score:
    arithmetic_mean: sum(w * s) / sum(w), a list without d counting as 0; geometric_mean: exp(sum(w * ln s) / sum(w)) and
    harmonic_mean: sum(w) / sum(w / s), both over the legs where s > 0.
    Raises InvalidRequest on an unknown combination.
    """
    combine = COMBINATIONS.get(combination)
    if combine is None:
        raise InvalidRequest(f"unknown combination [{combination}]; there are {', '.join(COMBINATIONS)}")
    normalized = [normalize(leg.scores, leg.normalizer) for leg in legs]
    ranks = [{key: rank for rank, key in enumerate(leg.scores, start=1)} for leg in legs]

    def part(position: int, key: Key) -> Part:
        leg, value = legs[position], normalized[position].get(key, 0.0)
        return Part(
            leg.name,
            leg.weight,
            ranks[position].get(key),
            leg.scores.get(key),
            value,
            leg.weight * value,
            leg.dot_of(key),
        )

    return _fuse(legs, part, combine)


def _sum(parts: Sequence[Part]) -> float:
    return math.fsum(one.contribution for one in parts)


def _arithmetic_mean(parts: Sequence[Part]) -> float:
    weights = math.fsum(one.weight for one in parts)
    return _sum(parts) / weights if weights else 0.0


def _geometric_mean(parts: Sequence[Part]) -> float:
    positive = [one for one in parts if one.normalized > 0]
    weights = math.fsum(one.weight for one in positive)
    return math.exp(math.fsum(one.weight * math.log(one.normalized) for one in positive) / weights) if weights else 0.0


def _harmonic_mean(parts: Sequence[Part]) -> float:
    positive = [one for one in parts if one.normalized > 0 and one.weight > 0]
    shares = math.fsum(one.weight / one.normalized for one in positive)
    return math.fsum(one.weight for one in positive) / shares if shares else 0.0


COMBINATIONS: dict[str, Callable[[Sequence[Part]], float]] = {
    "sum": _sum,
    "arithmetic_mean": _arithmetic_mean,
    "geometric_mean": _geometric_mean,
    "harmonic_mean": _harmonic_mean,
}


def autocut(fused: Sequence[Fused], jumps: int) -> list[Fused]:
    """The documents before the `jumps`-th steep fall of the score (Weaviate's idea of a jump).

    With ranks and scores both scaled to [0, 1], a fall is steep where the curve lies furthest below the straight line from
    the first score to the last, in each run between local peaks of that distance.
    """
    if len(fused) < 2 or jumps < 1:
        return list(fused)
    first, last = fused[0].score, fused[-1].score
    if first - last < _EPSILON:
        return list(fused)
    below = [rank / (len(fused) - 1) - (first - one.score) / (first - last) for rank, one in enumerate(fused)]
    falls = [
        rank
        for rank in range(1, len(fused))
        if below[rank] < below[rank - 1] and (rank + 1 == len(fused) or below[rank] <= below[rank + 1])
    ]
    return list(fused[: falls[jumps - 1]] if len(falls) >= jumps else fused)


def _fuse(
    legs: Sequence[RankedLeg],
    part: Callable[[int, Key], Part],
    combine: Callable[[Sequence[Part]], float] = _sum,
) -> list[Fused]:
    keys = dict.fromkeys(key for leg in legs for key in leg.scores)
    fused = []
    for key in keys:
        parts = tuple(part(position, key) for position in range(len(legs)))
        fused.append(Fused(key, combine(parts), parts))
    # A missing rank sorts after every rank; the order of first appearance settles what is left (sort is stable).
    fused.sort(key=lambda one: (-one.score, [one.rank or math.inf for one in one.parts]))
    return fused


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
