"""How the contributions of the legs become one score."""

import math
from collections.abc import Callable, Sequence

from query.fusion.ranked_lists import LegContribution, sum_of_contributions


def _arithmetic_mean(parts: Sequence[LegContribution]) -> float:
    weights = math.fsum(one.weight for one in parts)
    return sum_of_contributions(parts) / weights if weights else 0.0


def _geometric_mean(parts: Sequence[LegContribution]) -> float:
    positive = [one for one in parts if one.normalized > 0]
    weights = math.fsum(one.weight for one in positive)
    return math.exp(math.fsum(one.weight * math.log(one.normalized) for one in positive) / weights) if weights else 0.0


def _harmonic_mean(parts: Sequence[LegContribution]) -> float:
    positive = [one for one in parts if one.normalized > 0 and one.weight > 0]
    shares = math.fsum(one.weight / one.normalized for one in positive)
    return math.fsum(one.weight for one in positive) / shares if shares else 0.0


COMBINATIONS: dict[str, Callable[[Sequence[LegContribution]], float]] = {
    "sum": sum_of_contributions,
    "arithmetic_mean": _arithmetic_mean,
    "geometric_mean": _geometric_mean,
    "harmonic_mean": _harmonic_mean,
}
