"""Encoders side by side on a GPU: documents a second, and the smallest cosine to sentence-transformers in full precision.

    python -m bench encode_gpu

sentence-transformers sorts by length itself; its best settings are float16 and large batches.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.encode import LONGEST, MODELS, ROUNDS, SHORTEST, USUAL, prose_of
from bench.report import write
from bench.scale import scaled
from esblend.encoder.encoder import EncoderOptions, load_encoder

Encode = Callable[[list[str]], NDArray[np.float32]]
TEXTS = scaled(20_000)
BEST_BATCHES = (256, 1024)
REFERENCE = "sentence-transformers"


def sentence_transformers(path: str, device: str, *, is_half: bool, batch: int) -> Encode:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(path, device=device)
    if is_half:
        model.half()

    def encode(texts: list[str]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = model.encode(texts, batch_size=batch, normalize_embeddings=True)
        return found

    return encode


def contenders(path: str, device: str) -> dict[str, Encode]:
    """esblend takes the GPU where there is one; `fast` on PyTorch needs it."""
    exact = load_encoder(path, EncoderOptions(backend="torch"))
    loaded = {
        REFERENCE: sentence_transformers(path, device, is_half=False, batch=32),
        **{
            f"sentence-transformers, float16, batches of {batch}": sentence_transformers(
                path, device, is_half=True, batch=batch
            )
            for batch in BEST_BATCHES
        },
        "esblend torch exact": exact.encode_documents,
    }
    if device != "cpu":
        loaded["esblend torch fast"] = load_encoder(
            path, EncoderOptions(backend="torch", precision="fast")
        ).encode_documents
    return loaded


def measure(model: str, path: str, device: str, count: int) -> list[dict[str, Any]]:
    """One row for each contender, in interleaved rounds; medians."""
    texts, lengths = prose_of(path, count)
    loaded = contenders(path, device)
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    vectors: dict[str, NDArray[np.float32]] = {}
    for encode in loaded.values():
        encode(texts)  # a warm-up
    for _ in range(ROUNDS):
        for name, encode in loaded.items():
            began = time.perf_counter()
            vectors[name] = encode(texts)
            seconds[name].append(time.perf_counter() - began)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(taken for name, taken in median.items() if name.startswith(REFERENCE))
    return [
        {
            "model": model,
            "contender": name,
            "documents/s": round(count / taken, 1),
            "word pieces/s": round(sum(lengths) / taken),
            "relative": round(median[REFERENCE] / taken, 2),
            "relative to the best of sentence-transformers": round(best / taken, 2),
            "cosine min": round(float((vectors[name].astype(np.float32) * vectors[REFERENCE]).sum(axis=1).min()), 5),
        }
        for name, taken in median.items()
    ]


def main(models: Sequence[str] = USUAL) -> None:
    import torch

    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU: `python -m bench encode` measures encoders on a CPU")
    note = (
        f"{TEXTS} texts of {SHORTEST} to {LONGEST} word pieces, {ROUNDS} interleaved rounds after a warm-up, medians; on one "
        f"{torch.cuda.get_device_name()}. The DistilBERT has random weights. Printed by `python -m bench encode_gpu`."
    )
    rows = [row for model in models for row in measure(model, MODELS[model](), "cuda", TEXTS)]
    write("encode-gpu", "Encoders side by side on a GPU", note, rows)
