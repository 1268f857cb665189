"""OpenVINO on CPUs: faster than PyTorch in full precision, and several times faster still in int8."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.backend import Precision, Use
from esblend.encoder.batches import token_batches
from esblend.encoder.inference_queue import InferenceQueue
from esblend.encoder.model_folder import ModelFolder
from esblend.encoder.openvino_export import exported_model, read_quality
from esblend.encoder.silent_openvino import openvino
from esblend.errors import ModelError
from esblend.metrics import BATCH_FILL

_SMALLEST_BATCH = 256
_BATCHES_PER_STREAM = 4
_WIDTH_STEP = 8
"""Inputs are padded to multiples of this, because OpenVINO has to prepare for each new shape."""


class OpenVinoModel:
    """See `Backend`. For documents each thread computes a separate batch; for queries all threads compute one batch together."""

    def __init__(
        self, folder: ModelFolder, *, digest: str, precision: Precision, use: Use, threads: int, token_budget: int
    ) -> None:
        path = exported_model(folder, digest, precision)
        self.name = "openvino"
        self.precision: Precision = precision
        self.detail = read_quality(path.parent)
        self._streams = threads if use == "documents" else 1
        self._budget = max(512, token_budget // self._streams)
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

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """See `Backend`."""
        rows = np.empty((len(ids), self._width), dtype=np.float32)
        self._queue.compute(
            (self._inputs(ids, batch), partial(_store, rows, batch))
            for batch in self._batches([len(row) for row in ids])
        )
        return rows

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        # Few texts are cut into smaller batches, so that all streams are busy until the end.
        return token_batches(
            lengths, min(self._budget, max(_SMALLEST_BATCH, sum(lengths) // (self._streams * _BATCHES_PER_STREAM)))
        )

    def _inputs(self, ids: Sequence[Sequence[int]], batch: list[int]) -> list[NDArray[np.int64]]:
        """(word pieces, mask), each (len(batch), width), padded with zeros."""
        lengths = [len(ids[position]) for position in batch]
        width = -(-max(lengths) // _WIDTH_STEP) * _WIDTH_STEP
        tokens = np.zeros((len(batch), width), dtype=np.int64)
        mask = np.zeros((len(batch), width), dtype=np.int64)
        for row, position in enumerate(batch):
            tokens[row, : lengths[row]] = ids[position]
            mask[row, : lengths[row]] = 1
        BATCH_FILL.observe(sum(lengths) / tokens.size)
        return [tokens, mask]


def _store(rows: NDArray[np.float32], batch: list[int], vectors: NDArray[np.float32]) -> None:
    rows[batch] = vectors
