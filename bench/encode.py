"""Encoders side by side: documents and word pieces a second, CPU time, cosine to the reference, start-up, memory.

All contenders get the same texts and threads, in interleaved rounds; the median counts. Start-up and memory are measured in
a separate process for each. all-mpnet-base-v2 takes longer than the others together, so it is measured only by name:
`python -m bench.encode all-mpnet-base-v2` measures one model and keeps the other rows.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.models import distilbert_shape
from bench.mpnet import mpnet_folder
from bench.onnx_runtime import Graph, OnnxRuntimeModel
from bench.peak import LARGE, Peak, work_of
from bench.report import kept_rows, write
from esblend.encoder.calibration import calibration_texts
from esblend.encoder.encoder import EncoderOptions, load_encoder
from esblend.encoder.folder import find_model
from esblend.encoder.threads import available_threads
from esblend.encoder.tokenizer import load_tokenizer

Vectors = NDArray[np.float32]
ROUNDS = 3
TEXTS = 120
LONGEST, SHORTEST = 250, 10
_PART = 3
"""Every third text is enough to warm up, and to reach the peak of the memory."""
ITS_PRODUCTS = "limit: its products"
QUERY = "how does the boundary layer change with the angle of attack"


@dataclass(frozen=True)
class Contender:
    documents: Callable[[list[str]], Vectors]
    query: Callable[[str], Vectors]


def sentence_transformers(path: str) -> Contender:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(available_threads())
    model = SentenceTransformer(path, device="cpu")

    def encode(texts: list[str]) -> Vectors:
        found: Vectors = model.encode(texts, normalize_embeddings=True)
        return found

    return Contender(encode, lambda text: encode([text])[0])


def onnx_runtime(graph: Graph, *, batch: int, is_sorted: bool) -> Callable[[str], Contender]:
    def load(path: str) -> Contender:
        model = OnnxRuntimeModel(path, graph, batch=batch, is_sorted=is_sorted)
        return Contender(model.encode, lambda text: model.encode([text])[0])

    return load


def esblend(backend: Any, precision: Any) -> Callable[[str], Contender]:
    def load(path: str) -> Contender:
        documents = load_encoder(path, EncoderOptions(backend=backend, precision=precision, use="documents"))
        return Contender(lambda texts: documents.encode_documents(texts), lambda text: documents.encode_query(text))

    return load


def esblend_queries(backend: Any, precision: Any, path: str) -> Callable[[str], Vectors]:
    return load_encoder(path, EncoderOptions(backend=backend, precision=precision, use="queries")).encode_query


CONTENDERS: dict[str, Callable[[str], Contender]] = {
    "sentence-transformers": sentence_transformers,
    "ONNX Runtime, as fastembed": onnx_runtime("model", batch=256, is_sorted=False),
    "ONNX Runtime, as infinity": onnx_runtime("optimized", batch=32, is_sorted=True),
    "ONNX Runtime int8, as infinity": onnx_runtime("int8", batch=32, is_sorted=True),
    "esblend torch exact": esblend("torch", "exact"),
    "esblend openvino exact": esblend("openvino", "exact"),
    "esblend openvino fast": esblend("openvino", "fast"),
}


def prose_of(path: str, count: int = TEXTS) -> tuple[list[str], list[int]]:
    """Texts of evenly spread lengths, and the word pieces of each."""
    tokenizer = load_tokenizer(find_model(path))
    prose = " ".join(calibration_texts()).split()
    random = np.random.default_rng(7)
    texts: list[str] = []
    for length in np.linspace(SHORTEST, LONGEST, count).astype(int):
        start = int(random.integers(0, len(prose) - 400))
        text = " ".join(prose[start : start + 300])
        spans = tokenizer.spans(text)[: length - tokenizer.special_tokens]
        texts.append(text[: spans[-1][1]])
    random.shuffle(texts)
    return texts, [len(ids) for ids in tokenizer.ids(texts)]


def measure(model: str, path: str) -> list[dict[str, Any]]:
    texts, lengths = prose_of(path)
    work = work_of(path)
    operations, peak = work.operations(lengths), Peak(work)
    loaded = {name: load(path) for name, load in CONTENDERS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    processor: dict[str, list[float]] = {name: [] for name in loaded}
    vectors: dict[str, Vectors] = {}
    for one in loaded.values():
        one.documents(texts[::_PART])  # a warm-up
    for _ in range(ROUNDS):
        peak.measure()
        for name, one in loaded.items():
            began, before = time.perf_counter(), time.process_time()
            vectors[name] = one.documents(texts)
            seconds[name].append(time.perf_counter() - began)
            processor[name].append(time.process_time() - before)
    reference = vectors["sentence-transformers"]
    base = statistics.median(seconds["sentence-transformers"])
    rows = []
    for name in loaded:
        median = statistics.median(seconds[name])
        cosines = (vectors[name] * reference).sum(axis=1)
        start, memory = start_up(name, path)
        rows.append({
            "model": model,
            "contender": name,
            "documents/s": round(TEXTS / median, 1),
            "word pieces/s": round(sum(lengths) / median),
            "relative": round(base / median, 2),
            "GFLOP/s": round(operations / median / 1e9, 1),
            "share of peak": round(operations / median / peak.large, 2),
            "CPU ms/document": round(statistics.median(processor[name]) / TEXTS * 1000, 1),
            "cosine min": round(float(cosines.min()), 5),
            "start-up s": round(start, 1),
            "memory MB": round(memory),
        })  # fmt: skip
    return rows + limits(model, lengths, operations, base, peak)


def limits(model: str, lengths: Sequence[int], operations: float, base: float, peak: Peak) -> list[dict[str, Any]]:
    """What an encoder in float32 would reach if it computed as many operations a second as the products alone."""
    return [
        {
            "model": model,
            "contender": what,
            "documents/s": round(len(lengths) * rate / operations, 1),
            "word pieces/s": round(sum(lengths) * rate / operations),
            "relative": round(base * rate / operations, 2),
            "GFLOP/s": round(rate / 1e9, 1),
            "share of peak": round(rate / peak.large, 2),
        }
        for what, rate in ((ITS_PRODUCTS, peak.own), (f"limit: products of {' x '.join(map(str, LARGE))}", peak.large))
    ]


def start_up(name: str, path: str) -> tuple[float, float]:
    """(seconds until the first vector, peak memory in MB) of a fresh process; exports are made before."""
    code = f"from bench.encode import one_start; one_start({name!r}, {path!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["seconds"], found["megabytes"]


def one_start(name: str, path: str) -> None:
    began = time.perf_counter()
    contender = CONTENDERS[name](path)
    contender.query(QUERY)
    seconds = time.perf_counter() - began
    texts, _ = prose_of(path)
    contender.documents(texts[::_PART])
    print(json.dumps({"seconds": seconds, "megabytes": peak_megabytes()}))


def peak_megabytes() -> float:
    """Peak resident memory of this program. (`ru_maxrss` would count that of the process it was forked from.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


MODELS: dict[str, Callable[[], str]] = {
    "MiniLM": lambda: str(find_model("minilm").path),
    "DistilBERT shape": lambda: str(distilbert_shape()),
    "all-mpnet-base-v2": lambda: str(mpnet_folder()),
}
USUAL = ("MiniLM", "DistilBERT shape")


def main(models: Sequence[str] = USUAL) -> None:
    note = (
        f"{TEXTS} texts of {SHORTEST} to {LONGEST} word pieces, {ROUNDS} interleaved rounds, medians; relative to "
        "sentence-transformers' default `encode` in the same run. GFLOP/s: multiplications and additions in the model's matrix "
        "products. Peak: the rate of one large product in float32 by OpenVINO, on the same threads in the same rounds; "
        f"`{ITS_PRODUCTS}` are the model's products with its weights, without attention, activations and norms. The DistilBERT "
        "has random weights. Start-up: from the first "
        "import of a contender to its first vector, with the exports already made. ONNX Runtime runs as fastembed and infinity-emb "
        "use it (bench/onnx_runtime.py), for both fetch their models from a hub. Printed by `python -m bench encode`, "
        "all-mpnet-base-v2 by `python -m bench.encode all-mpnet-base-v2`."
    )
    for model in models:
        kept = [row for row in kept_rows("encode") if row["model"] != model]
        rows = sorted([*kept, *measure(model, MODELS[model]())], key=lambda row: list(MODELS).index(row["model"]))
        write("encode", "Encoders side by side", note, rows)


if __name__ == "__main__":
    main(sys.argv[1:] or USUAL)
