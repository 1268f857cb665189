"""The limit that encoders are compared with, the comparison on GPUs, and the worker with a stub Elasticsearch, in small."""

from pathlib import Path

import pytest

from esblend.encoder.folder import find_model
from tests.later import Later

peak = Later("bench.peak")
encode_gpu = Later("bench.encode_gpu")
worker = Later("bench.worker")
MINILM_WEIGHTS = 6 * (4 * 384 * 384 + 2 * 384 * 1536)


def test_the_operations_of_a_model_are_counted_from_its_shapes() -> None:
    work = peak.work_of(str(find_model("minilm").path))
    assert (work.layers, work.width, len(work.products)) == (6, 384, 36)
    assert work.operations([100, 7]) == 2 * MINILM_WEIGHTS * 107 + 4 * 6 * 384 * (100**2 + 7**2)


def test_the_rate_of_a_product_counts_both_operations() -> None:
    product = peak.Products(64, 32, 16)
    assert product.operations == 2 * 64 * 32 * 16
    assert product.rate() > 0


def test_both_limits_are_measured() -> None:
    limit = peak.Peak(peak.Work([(32, 16), (32, 16), (16, 64)], layers=1, width=32))
    limit.measure()
    assert min(limit.own, limit.large) > 0


def test_encoders_are_compared_on_the_device_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU: sentence-transformers in both precisions, and esblend in the one that a CPU has."""
    monkeypatch.setattr("bench.encode_gpu.ROUNDS", 1)
    rows = encode_gpu.measure("MiniLM", str(find_model("minilm").path), "cpu", 6)
    assert [row["contender"].split(",")[0] for row in rows] == ["sentence-transformers"] * 3 + ["esblend torch exact"]
    assert all(row["documents/s"] > 0 for row in rows)
    assert rows[-1]["cosine min"] >= 0.99999
    assert rows[1]["cosine min"] >= 0.999


def test_the_worker_embeds_every_document_of_the_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.worker.ROUNDS", 1)
    monkeypatch.setattr("bench.worker.TASK", 70)
    rows = worker.measure(200, tmp_path)
    assert [row["what"].partition(", ")[2] for row in rows[:2]] == [
        "without the embedding cache",
        "with the embedding cache",
    ]
    assert all(row["passages/s"] > 0 and row["CPU us/passage"] > 0 for row in rows)
