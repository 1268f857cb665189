"""Combinations: the normalised scores of a document in all legs become one score. Each is monotonic in every leg."""

import math
from collections.abc import Callable, Sequence
from operator import add

import numpy as np
import orjson
from numpy.typing import NDArray

from query.fusion.normalizers import OPENSEARCH_MIN_SCORE

Combine = Callable[[Sequence[float], Sequence[float]], float]
"""The legs' weights, and a document's normalised score in each of them, to its score."""
_MAX_SINGLE = float(np.finfo(np.float32).max)


def weighted_sum(weights: Sequence[float], values: Sequence[float]) -> float:
    return math.fsum([weight * value for weight, value in zip(weights, values, strict=True)])


def weighted_sums(weights: Sequence[float], values: Sequence[Sequence[float]]) -> list[float]:
    """The weighted sum of each document. `values`: for each leg, the normalised score of each document."""
    products = [[weight * value for value in of_leg] for weight, of_leg in zip(weights, values, strict=True)]
    if len(products) == 2:
        return list(map(add, *products))  # the sum of two numbers needs no `fsum`
    return list(map(math.fsum, zip(*products, strict=True)))


def _arithmetic_mean(weights: Sequence[float], values: Sequence[float]) -> float:
    total = math.fsum(weights)
    return weighted_sum(weights, values) / total if total else 0.0


def _geometric_mean(weights: Sequence[float], values: Sequence[float]) -> float:
    total = math.fsum(weights)
    logarithms = [math.log(_positive(value)) for value in values]
    return math.exp(weighted_sum(weights, logarithms) / total) if total else 0.0


def _harmonic_mean(weights: Sequence[float], values: Sequence[float]) -> float:
    total = math.fsum(weights)
    reciprocals = [weight / _positive(value) for weight, value in zip(weights, values, strict=True)]
    return total / math.fsum(reciprocals) if total else 0.0


def _positive(value: float) -> float:
    """The normalised score, at least 0.001: logarithm and reciprocal need a positive value.

    OpenSearch has the same minimum, but leaves out the legs that lack the document. That would rank a document with a low rank
    in a leg below one without a rank, so esblend counts an absent leg with the minimum.
    """
    return max(value, OPENSEARCH_MIN_SCORE)


COMBINATIONS: dict[str, Combine] = {
    "sum": weighted_sum,
    "arithmetic_mean": _arithmetic_mean,
    "geometric_mean": _geometric_mean,
    "harmonic_mean": _harmonic_mean,
}


def single_precision_sums(weights: Sequence[float], values: Sequence[Sequence[float]]) -> list[float]:
    """Weighted sums as Elasticsearch's retrievers compute them: 32-bit floats, added in the order of the legs.

    `values`: for each leg, the normalised score of each document. Documents tie exactly where they tie there. The results are the
    shortest decimal numbers that represent the 32-bit floats, as in Elasticsearch's responses.
    """
    if not values:
        return []
    total = np.zeros(len(values[0]))
    for weight, of_leg in zip(weights, values, strict=True):
        total = _single(total + _single(_single(np.asarray(weight, float)) * _single(np.asarray(of_leg, float))))
    shortest = orjson.dumps(total.astype(np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
    numbers: list[float] = orjson.loads(shortest)
    return numbers


def _single(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest finite 32-bit floats. Sums and products of two of them, rounded again, are those of 32-bit arithmetic."""
    return np.clip(values, -_MAX_SINGLE, _MAX_SINGLE).astype(np.float32).astype(np.float64)
