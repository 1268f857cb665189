"""The mean vector of an index, which calibrates the semantic leg."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class MeanVector:
    """The mean vector of documents. Every document counts once, however many passages it has."""

    vector: NDArray[np.float32]
    """(dims,)"""
    mean_squared_norm: float
    """Mean of the squared Euclidean lengths; 1 for unit vectors."""
    sampled: int
    """Documents in the sample."""
    passages: int
    """Passages in the sample."""
    documents: int
    """Documents with vectors in the index, when the sample was drawn."""


def mean_of_documents(documents: Iterable[NDArray[np.float32]], count: int, *, unit: bool) -> MeanVector | None:
    """The mean of `documents`, each the vectors of its passages (passages, dims); None when no document has a vector.

    `count`: documents in the whole index. `unit`: whether vectors are compared by their direction alone.
    """
    means, squares, passages = [], [], 0
    for vectors in documents:
        if not len(vectors):
            continue
        vectors = vectors.astype(np.float64)
        norms = np.linalg.norm(vectors, axis=1)
        if unit:
            vectors, norms = vectors / np.maximum(norms, 1e-12)[:, None], np.ones(len(vectors))
        means.append(vectors.mean(axis=0))
        squares.append(float((norms**2).mean()))
        passages += len(vectors)
    if not means:
        return None
    vector = np.mean(means, axis=0).astype(np.float32)
    return MeanVector(vector, float(np.mean(squares)), len(means), passages, max(count, len(means)))


def combine(means: Sequence[MeanVector]) -> MeanVector | None:
    """The mean vector of several indices together, each weighted by its number of documents; None for none."""
    if len(means) < 2:
        return means[0] if means else None
    weights = np.array([mean.documents for mean in means], dtype=np.float64)
    weights /= weights.sum()
    return MeanVector(
        np.sum([weight * mean.vector for weight, mean in zip(weights, means, strict=True)], axis=0, dtype=np.float32),
        float(sum(weight * mean.mean_squared_norm for weight, mean in zip(weights, means, strict=True))),
        sum(mean.sampled for mean in means),
        sum(mean.passages for mean in means),
        sum(mean.documents for mean in means),
    )
