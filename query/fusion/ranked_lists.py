"""Ranked lists and fused hits: the input and output of fusion."""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

_SINGLE = struct.Struct("f")
_MAX_SINGLE = 2.0**127 * (2 - 2.0**-23)


class Key(NamedTuple):
    """A document: ids are unique within an index only."""

    index: str  # type: ignore[assignment]  # hides the method of tuples, which is not used here
    id: str


Scores = Mapping[Key, float]
"""A ranked list: raw scores by document, best first."""


class LegContribution(NamedTuple):
    """The contribution of one leg to a document's score."""

    leg: str
    weight: float
    rank: int | None
    """The rank in the leg's list, from 1; None when the list lacks the document."""
    raw: float | None
    normalized: float
    contribution: float
    dot: float | None = None
    """The dot product that `raw` was computed from, if the leg has one."""
    mean: float | None = None
    """The query's mean similarity to the documents of the index, where the normaliser is calibrated by it."""
    normalizer: str | None = None
    inner: "FusedHit | None" = None
    """How the leg computed `raw`, where it is part of a retriever tree."""


class Method(NamedTuple):
    """How a score was computed from its parts."""

    name: str = "linear"
    """`rrf`, `linear`, or the name of the retriever that changed the score or the order."""
    combination: str = "sum"
    rank_constant: int | None = None
    leaf: int | None = None
    """With the name `leg`: which of the tree's leaves gave the score, from 0."""


class FusedHit(NamedTuple):
    """A document with its fused score."""

    key: Key
    score: float
    parts: tuple[LegContribution, ...]
    method: Method = Method()


@dataclass(frozen=True)
class RankedLeg:
    """One leg's list, ready for fusion."""

    name: str
    scores: Scores
    weight: float = 1.0
    normalizer: str | Callable[[Scores], dict[Key, float]] = "none"
    dot: Callable[[float], float] | None = None
    """Turns a raw score back to the dot product of unit vectors."""
    means: Mapping[str, float] = field(default_factory=dict)
    """By index, the mean similarity that a calibrated normaliser uses."""
    hits: Mapping[Key, FusedHit] = field(default_factory=dict)
    """How each score was computed."""
    is_cut: bool = False
    """Whether a document that the list lacks has a lower score than its documents: it is outside of the window."""

    def dot_of(self, key: Key) -> float | None:
        return self.dot(self.scores[key]) if self.dot is not None and key in self.scores else None

    def mean_of(self, key: Key) -> float | None:
        return self.means.get(key.index) if key in self.scores else None


def fuse_lists(
    legs: Sequence[RankedLeg],
    part: Callable[[int, Key], LegContribution],
    combine: Callable[[Sequence[LegContribution]], float],
    method: Method = Method(),
) -> list[FusedHit]:
    keys = dict.fromkeys(key for leg in legs for key in leg.scores)
    fused = []
    for key in keys:
        parts = tuple(part(position, key) for position in range(len(legs)))
        fused.append(FusedHit(key, combine(parts), parts, method))
    # A missing rank sorts after every rank; the order of first appearance decides the remaining ties (sort is stable).
    fused.sort(key=lambda hit: (-hit.score, [part.rank or math.inf for part in hit.parts]))
    return fused


def sum_of_contributions(contributions: Sequence[LegContribution]) -> float:
    return math.fsum(part.contribution for part in contributions)


def single_precision_sum(contributions: Sequence[LegContribution]) -> float:
    """The sum as Elasticsearch's retrievers compute it: 32-bit floats, added in the order of the legs.

    Documents tie exactly where they tie there. The result is the shortest decimal number that represents the 32-bit float,
    as in Elasticsearch's responses.
    """
    total = 0.0
    for part in contributions:
        total = _single(total + _single(_single(part.weight) * _single(part.normalized)))
    return float(str(np.float32(total)))


def _single(value: float) -> float:
    """The nearest finite 32-bit float."""
    single: float = _SINGLE.unpack(_SINGLE.pack(max(-_MAX_SINGLE, min(_MAX_SINGLE, value))))[0]
    return single
