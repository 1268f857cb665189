"""What a vector field's similarity means: Elasticsearch's score, a script for the true value, and the value behind both.

Formulas: Elasticsearch's documentation of `dense_vector`, parameter `similarity`. Scripts must not give negative scores.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mappings.attachment import Attachment

Score = Callable[[float], float]


@dataclass(frozen=True)
class SimilarityScale:
    """How near two vectors are. `value`: what is blended, larger is nearer."""

    script: str
    """Painless, over `params.vector` and `params.field`."""
    of_script: Score
    """The value of a script's score."""
    of_knn: Score
    """The value of a kNN score."""
    normalizer: str = "none"
    """What brings the values to the scale of [-1, 1] where they have bounds of their own no more."""
    theoretical: str = "unit_dot"
    """What does so by bounds that are known in advance."""
    is_dot: bool = True
    """Whether the value is a dot product."""


def _half(score: float) -> float:
    """dot_product and cosine: score = (1 + dot) / 2."""
    return 2 * score - 1


def _minus_one(score: float) -> float:
    return score - 1


def _inner_product(score: float) -> float:
    """max_inner_product: score = 1 / (1 - dot) below 0, else dot + 1."""
    return score - 1 if score >= 1 else 1 - 1 / max(score, 1e-30)


def _itself(score: float) -> float:
    return score


SIMILARITY_SCALES = {
    "dot_product": SimilarityScale("Math.max(0.0, dotProduct(params.vector, params.field) + 1.0)", _minus_one, _half),
    "cosine": SimilarityScale("Math.max(0.0, cosineSimilarity(params.vector, params.field) + 1.0)", _minus_one, _half),
    "max_inner_product": SimilarityScale(
        "double dot = dotProduct(params.vector, params.field); return dot < 0 ? 1 / (1 - dot) : dot + 1",
        _inner_product,
        _inner_product,
        normalizer="minmax",
        theoretical="minmax",
    ),
    # score = 1 / (1 + distance^2), within (0, 1]: that is blended, since a distance is smaller where vectors are nearer
    "l2_norm": SimilarityScale(
        "double distance = l2norm(params.vector, params.field); return 1 / (1 + distance * distance)",
        _itself,
        _itself,
        theoretical="none",
        is_dot=False,
    ),
}


def similarity_scale(attachment: Attachment) -> SimilarityScale:
    """That of the active generation's vectors."""
    return SIMILARITY_SCALES[attachment.generation.vector.similarity]
