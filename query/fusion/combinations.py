"""Combinations: the contributions of the legs become one score. Each is monotonic in every leg."""

import math
from collections.abc import Callable, Sequence

from query.fusion.normalizers import OPENSEARCH_MIN_SCORE
from query.fusion.ranked_lists import LegContribution, sum_of_contributions


def _arithmetic_mean(parts: Sequence[LegContribution]) -> float:
    weights = math.fsum(part.weight for part in parts)
    return sum_of_contributions(parts) / weights if weights else 0.0


def _geometric_mean(parts: Sequence[LegContribution]) -> float:
    weights = math.fsum(part.weight for part in parts)
    return math.exp(math.fsum(part.weight * math.log(_positive(part)) for part in parts) / weights) if weights else 0.0


def _harmonic_mean(parts: Sequence[LegContribution]) -> float:
    weights = math.fsum(part.weight for part in parts)
    return weights / math.fsum(part.weight / _positive(part) for part in parts) if weights else 0.0


def _positive(part: LegContribution) -> float:
    """The normalised score, at least 0.001: logarithm and reciprocal need a positive value.

    OpenSearch has the same minimum, but leaves out the legs that lack the document. That would rank a document with a low rank
    in a leg below one without a rank, so esblend counts an absent leg with the minimum.
    """
    return max(part.normalized, OPENSEARCH_MIN_SCORE)


COMBINATIONS: dict[str, Callable[[Sequence[LegContribution]], float]] = {
    "sum": sum_of_contributions,
    "arithmetic_mean": _arithmetic_mean,
    "geometric_mean": _geometric_mean,
    "harmonic_mean": _harmonic_mean,
}
