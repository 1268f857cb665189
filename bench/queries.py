"""The latency of encoding one query. Each contender runs in a separate process, like a gateway."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.encode import CONTENDERS, QUERY, esblend_queries
from bench.models import distilbert_shape
from bench.report import write
from esblend.encoder.folder import find_model

ROUNDS = 3
QUERIES = 200
WARM_UP = 20


def one_process(name: str, path: str) -> None:
    began = time.perf_counter()
    if name.startswith("esblend"):
        _, backend, precision = name.split()
        query = esblend_queries(backend, precision, path)
    else:
        query = CONTENDERS[name](path).query
    query(QUERY)
    ready = time.perf_counter() - began
    words = f"{QUERY} {QUERY}".split()
    alike = [f"{QUERY} {number}" for number in range(QUERIES)]
    mixed = [f"{' '.join(words[: 2 + number * 7 % 19])} {number}" for number in range(QUERIES)]
    print(json.dumps({"ready": ready, "milliseconds": _timed(query, alike), "mixed": _timed(query, mixed)}))


def _timed(query: Callable[[str], Any], texts: Sequence[str]) -> list[float]:
    milliseconds = []
    for text in texts:
        began = time.perf_counter()
        query(text)
        milliseconds.append((time.perf_counter() - began) * 1000)
    return milliseconds[WARM_UP:]


def measure(model: str, path: str) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for _ in range(ROUNDS):
        for name, runs in found.items():
            code = f"from bench.queries import one_process; one_process({name!r}, {path!r})"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
    p50 = {
        name: statistics.median(statistics.median(run["milliseconds"]) for run in runs) for name, runs in found.items()
    }
    return [
        {
            "model": model,
            "contender": name,
            "p50 ms": round(p50[name], 2),
            "p95 ms": round(statistics.median(statistics.quantiles(run["milliseconds"], n=20)[-1] for run in runs), 2),
            "p50 ms, mixed lengths": round(statistics.median(statistics.median(run["mixed"]) for run in runs), 2),
            "faster": f"{p50['sentence-transformers'] / p50[name]:.1f}",
            "ready s": round(statistics.median(run["ready"] for run in runs), 1),
        }
        for name, runs in found.items()
    ]


def main() -> None:
    note = (
        f"{QUERIES - WARM_UP} queries of 12 to 14 word pieces, then as many of 5 to 23, {ROUNDS} processes a contender in turns, "
        "medians. ONNX Runtime runs as fastembed and infinity-emb use it (bench/onnx_runtime.py). "
        "Ready: from the first import to the first vector, with the exports already made. Printed by `python -m bench queries`."
    )
    rows: list[dict[str, Any]] = []
    for model, path in (("MiniLM", str(find_model("minilm").path)), ("DistilBERT shape", str(distilbert_shape()))):
        rows += measure(model, path)
        write("queries", "One query", note, rows)
