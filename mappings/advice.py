"""Estimates memory, disk space and recall of each vector type for an index.

Sizes: Elasticsearch's documentation, "Tune approximate kNN search" (bytes per vector: float 4 d, int8 d + 4, int4 d / 2 + 4, bbq
d / 8 + 14; the HNSW graph 4 m). Quantised fields also store the full vectors on disk. Recall: an exhaustive search with
the quantised vectors over a sample of the index; the recall of an HNSW graph is close to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
DEFAULT_M = 16
DEPTH = 10
QUERIES = 100
OVERSAMPLE = 3.0
GOOD_RECALL = 0.95
SMALL_PASSAGES = 10_000
"""With fewer passages, a flat index is as fast as an HNSW graph."""
WORTHWHILE = 64 * 2**20
"""Bytes of memory that a migration must save."""


@dataclass(frozen=True)
class Option:
    """One vector type: `ram_bytes` should fit into the page cache; `recall` is None without a sample of vectors."""

    type: str
    oversample: float | None
    ram_bytes: int
    disk_bytes: int
    recall: float | None


def bytes_of(kind: str, dims: int, m: int = DEFAULT_M) -> tuple[int, int]:
    """(RAM, disk) in bytes for one vector of a type such as `int8_hnsw`."""
    quantised = {"int8": dims + 4, "int4": dims // 2 + 4, "bbq": dims // 8 + 14}.get(kind.partition("_")[0])
    graph = 4 * m if kind.endswith("hnsw") else 0
    whole = 4 * dims
    return (whole if quantised is None else quantised) + graph, whole + (quantised or 0) + graph


def options(dims: int, passages: int, sample: Vectors | None) -> list[Option]:
    """Every type, quantised ones also with oversampling; the smallest in memory first."""
    choices = []
    for kind in ("hnsw", "int8_hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat", "int4_flat", "bbq_flat"):
        quantisation = kind.partition("_")[0]
        for oversample in (None, OVERSAMPLE) if quantisation in _QUANTISE else (None,):
            recall = None if sample is None else recall_of(quantisation, sample, oversample)
            ram, disk = bytes_of(kind, dims)
            choices.append(Option(kind, oversample, ram * passages, disk * passages, recall))
    return sorted(choices, key=lambda option: (option.ram_bytes, option.oversample or 0))


def recommend(choices: Sequence[Option], passages: int) -> Option:
    """The option with good recall that needs the least memory: a flat type for few passages, else a graph."""
    shape = "flat" if passages < SMALL_PASSAGES else "hnsw"
    fitting = [option for option in choices if option.type.endswith(shape)]
    if fitting[0].recall is None:
        return next(option for option in fitting if option.type.startswith("int8") and option.oversample is None)
    good = [option for option in fitting if (option.recall or 0) >= GOOD_RECALL]
    return good[0] if good else max(fitting, key=lambda option: option.recall or 0)


def is_good_enough(present: Option, best: Option) -> bool:
    """Whether `present` has a good recall, and a migration to `best` would save too little memory to be worth it."""
    has_recall = present.recall is None or present.recall >= GOOD_RECALL
    return has_recall and present.ram_bytes - best.ram_bytes < WORTHWHILE


def recall_of(quantisation: str, sample: Vectors, oversample: float | None) -> float:
    """recall@DEPTH, 0 to 1. `sample`: (n, dims); its first QUERIES rows are the queries, the others the documents."""
    queries, vectors = sample[:QUERIES], sample[QUERIES:]
    true = np.argsort(-(queries @ vectors.T), axis=1)[:, :DEPTH]
    quantise = _QUANTISE.get(quantisation)
    if quantise is None:
        return 1.0
    approximate = queries @ quantise(vectors).T
    count = round(DEPTH * (oversample or 1))
    candidate_rows = np.argsort(-approximate, axis=1)[:, :count]
    hits = 0
    for query, candidates, relevant in zip(queries, candidate_rows, true, strict=True):
        best = candidates[np.argsort(-(vectors[candidates] @ query))][:DEPTH]
        hits += len(set(best.tolist()) & set(relevant.tolist()))
    return hits / true.size


def _scalar(vectors: Vectors, levels: int) -> Vectors:
    """Round each number to one of `levels` between the 0.5 and 99.5 percentiles, as Lucene's scalar quantisation does."""
    low, high = np.percentile(vectors, [0.5, 99.5])
    step = (high - low) / (levels - 1)
    rounded: Vectors = (np.round((np.clip(vectors, low, high) - low) / step) * step + low).astype(np.float32)
    return rounded


def _binary(vectors: Vectors) -> Vectors:
    """One bit per number around the centroid, with the best-fitting length: the idea of RaBitQ (Gao and Long, SIGMOD 2024)."""
    centre = vectors.mean(axis=0)
    residual = vectors - centre
    signs = np.sign(residual)
    scale = np.abs(residual).mean(axis=1, keepdims=True)
    restored: Vectors = (centre + signs * scale).astype(np.float32)
    return restored


_QUANTISE: dict[str, Callable[[Vectors], Vectors]] = {
    "int8": lambda vectors: _scalar(vectors, 127),
    "int4": lambda vectors: _scalar(vectors, 15),
    "bbq": _binary,
}
