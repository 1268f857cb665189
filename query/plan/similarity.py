"""The similarities of a vector field: Elasticsearch's score, a script for the exact value, the value behind both, its calibration.

Formulas: Elasticsearch's documentation of `dense_vector`, parameter `similarity`. Scripts must not give negative scores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappings.attachment import Attachment
from mappings.mean_vectors import MeanVector
from query.fusion.normalizers import Calibration

Score = Callable[[float], float]
_TINY = 1e-30


@dataclass(frozen=True)
class SimilarityScale:
    """How similar two vectors are. The value is the raw score of the semantic leg; larger means more similar."""

    script: str
    """Painless, over `params.vector` and `params.field`."""
    of_script: Score
    """The value of a script's score."""
    of_knn: Score
    """The value of a kNN score."""
    raw_dot: str = "none"
    """Normaliser of the values for `raw_dot`: minmax if they have no upper bound."""
    theoretical: str = "unit_dot"
    """Normaliser of the values for `theoretical`: by bounds that are known in advance."""
    is_dot: bool = True
    """Whether the value is a dot product."""


def _half(score: float) -> float:
    """dot_product and cosine: score = (1 + dot) / 2."""
    return 2 * score - 1


def _minus_one(score: float) -> float:
    return score - 1


def _inner_product(score: float) -> float:
    """max_inner_product: score = 1 / (1 - dot) below 0, else dot + 1."""
    return score - 1 if score >= 1 else 1 - 1 / max(score, _TINY)


def _itself(score: float) -> float:
    return score


SIMILARITY_SCALES = {
    "dot_product": SimilarityScale("Math.max(0.0, dotProduct(params.vector, params.field) + 1.0)", _minus_one, _half),
    "cosine": SimilarityScale("Math.max(0.0, cosineSimilarity(params.vector, params.field) + 1.0)", _minus_one, _half),
    "max_inner_product": SimilarityScale(
        "double dot = dotProduct(params.vector, params.field); return dot < 0 ? 1 / (1 - dot) : dot + 1",
        _inner_product,
        _inner_product,
        raw_dot="minmax",
        theoretical="minmax",
    ),
    # The blend uses score = 1 / (1 + distance^2), within (0, 1], since a distance is smaller where vectors are closer.
    "l2_norm": SimilarityScale(
        "double distance = l2norm(params.vector, params.field); return 1 / (1 + distance * distance)",
        _itself,
        _itself,
        theoretical="none",
        is_dot=False,
    ),
}


def similarity_scale(attachment: Attachment) -> SimilarityScale:
    """The scale of the active generation's vectors."""
    return SIMILARITY_SCALES[attachment.generation.vector.similarity]


def calibration_of(similarity: str, query: NDArray[np.float32], mean: MeanVector | None) -> Calibration:
    """The calibration of one query's similarities, by its mean similarity to the documents. `query`: (dims,).

    With the mean vector c and the mean squared length s of the documents' vectors:
    dot_product, cosine: mean q . c, perfect 1. max_inner_product: mean q . c, perfect |q| sqrt(s), which is a vector of the
    query's direction and of usual length. l2_norm: similarity -distance^2, mean -(|q|^2 - 2 q . c + s), perfect 0. For unit
    vectors all three give (dot - m) / (1 - m). Without a mean vector, c is 0 and s is |q|^2.
    """
    query = query.astype(np.float64)
    squared = float(query @ query)
    dot, spread = (0.0, squared) if mean is None else (float(query @ mean.vector), mean.mean_squared_norm)
    if similarity == "l2_norm":
        distance = max(0.0, squared - 2 * dot + spread)
        return Calibration(-distance, 0.0, lambda score: 1 - 1 / max(score, _TINY), squared + spread)
    if similarity == "max_inner_product":
        perfect = float(np.sqrt(squared * spread))
        return Calibration(dot, perfect, scale=perfect or squared)
    return Calibration(dot)
