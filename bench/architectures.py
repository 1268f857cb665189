"""Which backend runs which architecture: small random models of each, compared with sentence-transformers."""

import os
import tempfile
from pathlib import Path
from typing import Any

from bench.report import write
from esblend.errors import ModelError
from tests.unit.esblend.encoder.parity import TEXTS, load, reference
from tests.unit.esblend.encoder.tiny_models import ARCHITECTURES, write_model


def main() -> None:
    rows = []
    for name in ARCHITECTURES:
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["ESBLEND_CACHE_DIR"] = scratch
            rows.append({"architecture": name, **measure(write_model(Path(scratch) / "tiny", name))})
    note = (
        "Models of 2 layers, 32 wide, with random weights. The figure is the smallest cosine to sentence-transformers, which "
        f"gets the {len(TEXTS)} texts one at a time. Printed by `python -m bench architectures`."
    )
    write("architectures", "Architectures and backends", note, rows)


def measure(folder: Path) -> dict[str, Any]:
    expected = reference(folder, *([text] for text in TEXTS))
    row: dict[str, Any] = {}
    for backend in ("torch", "openvino"):
        try:
            encoder = load(folder, backend)
        except ModelError as error:
            row[backend] = error.reason[:80]
            continue
        cosine = float((encoder.encode_documents(TEXTS) * expected).sum(axis=1).min())
        row[backend] = f"{cosine:.6f}"
        if backend == "torch":
            row["batches on torch"] = batches_of(encoder.describe().get("detail", ""))
    return row


def batches_of(detail: str) -> str:
    if "padding changes" in detail:
        return "of one length"
    return "padded" if "pads" in detail else "packed"
