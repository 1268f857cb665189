"""OpenVINO on CPUs: faster than PyTorch in full precision, and several times faster still in int8."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.backend import Precision, Use
from esblend.encoder.batches import token_batches
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
        self._queue = openvino.AsyncInferQueue(compiled, self._streams)
        self._queue.set_callback(_store)

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """See `Backend`. One caller at a time."""
        rows = np.empty((len(ids), self._width), dtype=np.float32)
        lengths = [len(row) for row in ids]
        # Few texts are cut into smaller batches, so that all streams are busy until the end.
        budget = min(self._budget, max(_SMALLEST_BATCH, sum(lengths) // (self._streams * _BATCHES_PER_STREAM)))
        for batch in token_batches(lengths, budget):
            width = -(-max(len(ids[position]) for position in batch) // _WIDTH_STEP) * _WIDTH_STEP
            tokens = np.zeros((len(batch), width), dtype=np.int64)
            mask = np.zeros((len(batch), width), dtype=np.int64)
            for row, position in enumerate(batch):
                tokens[row, : len(ids[position])] = ids[position]
                mask[row, : len(ids[position])] = 1
            BATCH_FILL.observe(sum(lengths[position] for position in batch) / tokens.size)
            self._queue.start_async([tokens, mask], (rows, batch))
        self._queue.wait_all()
        return rows


def _store(request: Any, target: tuple[NDArray[np.float32], list[int]]) -> None:
    rows, batch = target
    rows[batch] = request.get_output_tensor(0).data
