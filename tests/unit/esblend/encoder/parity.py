"""Loads encoders, and compares their vectors with those of sentence-transformers."""

from pathlib import Path
from typing import Any

import numpy as np

from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder
from esblend.encoder.folder import find_model
from esblend.encoder.openvino_export import export, export_folder
from tests.later import sentence_transformers
from tests.unit.esblend.encoder.texts import UNRELATED

LONG = " ".join(UNRELATED)
TEXTS = [*UNRELATED, LONG, "word", "Ünïcode — 混合搜索 🚀", LONG[:300]]


def load(folder: Path, backend: Any = "torch") -> Encoder:
    """The encoder on a backend, with one thread: handing such small models to several takes longer than computing them. An
    export is made in this process, which spares the start of another one."""
    if backend == "openvino":
        described = find_model(str(folder))
        for route in filter(None, (described, described.queries)):
            target = export_folder(route, route.digest(), "exact")
            if not (target / "model.xml").is_file():
                target.mkdir(parents=True, exist_ok=True)
                export(route, "exact", target)
    return load_encoder(str(folder), EncoderOptions(backend=backend, threads=1))


def reference(folder: Path, *batches: list[str], task: str | None = None, **options: Any) -> np.ndarray:
    """Unit vectors by sentence-transformers, computed in float32; of TEXTS unless `batches` are given."""
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu", **options)
    encode = {"query": model.encode_query, "document": model.encode_document, None: model.encode}[task]
    vectors: list[np.ndarray] = [encode(texts, normalize_embeddings=True) for texts in batches or [TEXTS]]
    return np.concatenate(vectors)


def assert_same(vectors: np.ndarray, expected: np.ndarray, cosine: float = 0.9999) -> None:
    """Cosines of the vectors, and of their differences from the mean, since random models give all texts similar vectors."""
    assert vectors.shape == expected.shape
    assert (vectors * expected).sum(axis=1).min() >= cosine
    ours, theirs = vectors - expected.mean(axis=0), expected - expected.mean(axis=0)
    centred = (ours * theirs).sum(axis=1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    assert centred.min() >= cosine, centred
