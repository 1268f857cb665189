"""OpenVINO on CPUs: faster than PyTorch in full precision, and several times faster still in int8."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.backend import Precision, Use
from esblend.encoder.batches import token_batches
from esblend.encoder.inference_queue import InferenceQueue
from esblend.encoder.model_folder import ModelFolder
from esblend.encoder.openvino_export import exported_model, read_quality
from esblend.encoder.short_text import SHORT, ShortTextModel
from esblend.encoder.silent_openvino import openvino
from esblend.errors import ModelError
from esblend.metrics import BATCH_FILL


@dataclass(frozen=True)
class _Padding:
    """How far texts are padded, in word pieces."""

    step: int
    """Inputs are padded to multiples of this."""
    most: int | None
    """In one batch and for each thread that computes it, for the sake of larger batches."""


_PADDING = {
    # Another batch takes as long as 10 (DistilBERT) to 13 (MiniLM) word pieces, another shape no time.
    "exact": _Padding(step=1, most=10),
    # Another batch takes as long as 44 word pieces (MiniLM). A new shape takes 11 ms, and memory for as long as the process runs.
    "fast": _Padding(step=8, most=None),
}


_TOKEN_BUDGET = 2048
"""Word pieces that all threads compute at a time, where the settings name no number."""


class OpenVinoModel:
    """See `Backend`. For documents each thread computes a separate batch; for queries all threads compute one batch together."""

    def __init__(
        self,
        folder: ModelFolder,
        *,
        digest: str,
        precision: Precision,
        use: Use,
        threads: int,
        token_budget: int | None,
    ) -> None:
        path = exported_model(folder, digest, precision)
        self.name = "openvino"
        self.precision: Precision = precision
        self.detail = read_quality(path.parent)
        self._streams = threads if use == "documents" else 1
        self._budget = max(512, (token_budget or _TOKEN_BUDGET) // self._streams)
        most = _PADDING[precision].most
        self._most_padding = None if most is None else most * (threads // self._streams)
        properties: dict[str, Any] = {
            "NUM_STREAMS": str(self._streams),
            "INFERENCE_NUM_THREADS": threads,
            # OpenVINO might choose bf16 instead, which is slower on many CPUs and not exact on any.
            "INFERENCE_PRECISION_HINT": "f32",
            # Several processes share the cores of a machine; with pinning they would use the same ones.
            "ENABLE_CPU_PINNING": False,
            "CACHE_DIR": str(path.parent / "compiled"),
        }
        try:
            compiled = openvino.Core().compile_model(str(path), "CPU", properties)
        except RuntimeError as error:
            raise ModelError(f"model [{folder.name}] cannot be compiled by OpenVINO: {error}") from error
        self._width = int(compiled.output(0).get_partial_shape()[1].get_length())
        self._queue = InferenceQueue(compiled, self._streams)
        # In full precision a copy of the weights would take four times the memory.
        self._short = _short_text_model(path, properties) if use == "queries" and precision == "fast" else None

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """See `Backend`."""
        if self._short is not None and len(ids) == 1 and len(ids[0]) <= SHORT:
            return self._short.embed(ids[0])
        rows = np.empty((len(ids), self._width), dtype=np.float32)
        lengths = [len(row) for row in ids]
        batches = token_batches(lengths, self._budget, streams=self._streams, padding=self._most_padding)
        self._queue.compute((self._inputs(ids, batch), partial(_store, rows, batch)) for batch in batches)
        return rows

    def _inputs(self, ids: Sequence[Sequence[int]], batch: list[int]) -> list[NDArray[np.int64]]:
        """(word pieces, mask), each (len(batch), width), padded with zeros."""
        lengths = [len(ids[position]) for position in batch]
        step = _PADDING[self.precision].step
        width = -(-max(lengths) // step) * step
        tokens = np.zeros((len(batch), width), dtype=np.int64)
        mask = np.zeros((len(batch), width), dtype=np.int64)
        for row, position in enumerate(batch):
            tokens[row, : lengths[row]] = ids[position]
            mask[row, : lengths[row]] = 1
        BATCH_FILL.observe(sum(lengths) / tokens.size)
        return [tokens, mask]


def _short_text_model(path: Path, properties: dict[str, Any]) -> ShortTextModel | None:
    """None for a model that cannot be compiled for inputs of one shape."""
    try:
        return ShortTextModel(path, properties)
    except RuntimeError:
        return None


def _store(rows: NDArray[np.float32], batch: list[int], vectors: NDArray[np.float32]) -> None:
    rows[batch] = vectors
