"""PyTorch: the reference on CPUs, and the backend for GPUs. Batches are packed without padding where the model allows it."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esblend.encoder.backend import Precision
from esblend.encoder.batches import equal_length_batches, packed_batches, token_batches
from esblend.encoder.model_folder import ModelFolder
from esblend.encoder.packed_attention import PACKED, runs
from esblend.encoder.pooled_model import PooledModel
from esblend.errors import ModelError

_PROBE = [list(range(1, length + 1)) for length in (40, 7, 4, 2, 2)]
"""Word-piece ids of texts that are embedded both ways when a model is loaded."""
_LONGER_PROBE = _PROBE[:3]
"""Some architectures (Funnel) cannot compute shorter texts without padding."""
_PROBE_COSINE = 0.9999


class TorchModel:
    """See `Backend`. `fast` needs a GPU and computes in bfloat16, or in float16 where the GPU does not support bfloat16."""

    def __init__(self, folder: ModelFolder, *, precision: Precision, threads: int, token_budget: int) -> None:
        torch.set_num_threads(threads)
        self.name = "torch"
        self.precision: Precision = precision
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if precision == "fast" and self._device.type == "cpu":
            raise ModelError("[precision: fast] on a CPU needs OpenVINO: pip install 'esblend[openvino]'")
        half = torch.bfloat16 if self._device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
        self._lock = threading.Lock()
        self._budget = token_budget
        self._position_offset = folder.position_offset
        model = PooledModel(folder, dtype=half if precision == "fast" else torch.float32)
        self._model = model.to(self._device).eval()
        self._pad = int(getattr(self._model.transformer.config, "pad_token_id", 0) or 0)
        self.is_packed, self.detail = False, ""
        self._batches: Callable[[Sequence[int], int], list[list[int]]] = token_batches
        if folder.input_kind == "Transformer":
            obstacle = self._pack()
            self.is_packed = obstacle is None
            self.detail = "" if obstacle is None else f"PyTorch pads the batches of this model: {obstacle}"
            if obstacle is not None and not self._ignores_padding():
                self._batches = equal_length_batches
                self.detail = (
                    "PyTorch computes texts of one length together: padding changes the vectors of this model, and its batches "
                    f"cannot be packed: {obstacle}"
                )

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        with self._lock, torch.inference_mode():
            return self._embed_packed(ids) if self.is_packed else self.embed_padded(ids)

    def _pack(self) -> str | None:
        """Replace the model's attention by the packed one. Gives None, or the reason why the model must run padded.

        Whether an architecture can be packed is known only by trying: the vectors of a probe must be the same both ways.
        """
        transformer: Any = self._model.transformer
        if not transformer.is_backend_compatible():
            return "its attention cannot be replaced"
        original = getattr(transformer.config, "_attn_implementation", None) or "eager"
        expected = self.embed_padded(_PROBE)
        try:
            transformer.set_attn_implementation(PACKED)
            with torch.inference_mode():
                if _are_same(expected, self._embed_packed(_PROBE)):
                    return None
            obstacle = "packed batches give other vectors"
        except Exception as error:  # whatever a model's own code raises on inputs that it does not expect
            obstacle = str(error).partition("\n")[0][:200]
        transformer.set_attn_implementation(original)
        return obstacle

    def _ignores_padding(self) -> bool:
        """Some architectures mix the padding into a text (convolutions, Fourier transforms), whatever the mask says."""
        alone = np.concatenate([self.embed_padded([ids]) for ids in _LONGER_PROBE])
        return _are_same(alone, self.embed_padded(_LONGER_PROBE))

    def embed_padded(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """As `embed`, in rows that are padded to the longest text of their batch."""
        rows: list[Any] = [None] * len(ids)
        for batch in self._batches([len(row) for row in ids], self._budget):
            width = max(len(ids[position]) for position in batch)
            tokens = torch.full((len(batch), width), self._pad, dtype=torch.long)
            mask = torch.zeros((len(batch), width), dtype=torch.long)
            for row, position in enumerate(batch):
                tokens[row, : len(ids[position])] = torch.tensor(ids[position], dtype=torch.long)
                mask[row, : len(ids[position])] = 1
            with torch.inference_mode():
                vectors = self._model(self._send(tokens), self._send(mask))
            _scatter(rows, batch, vectors)
        return np.stack(rows)

    def _embed_packed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        rows: list[Any] = [None] * len(ids)
        for batch in packed_batches([len(row) for row in ids], self._budget):
            lengths = [len(ids[position]) for position in batch]
            tokens = torch.tensor([[piece for position in batch for piece in ids[position]]])
            positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0) + self._position_offset
            inputs = {"input_ids": self._send(tokens), "position_ids": self._send(positions), "text_lengths": lengths}
            hidden = self._model.transformer(**inputs).last_hidden_state[0]
            _scatter(rows, batch, self._pool_packed(hidden, lengths))
        return np.stack(rows)

    def _pool_packed(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """Batches are sorted by length, so texts of equal length are neighbours and are pooled together without padding."""
        pooled, first = [], 0
        for count, length in runs(lengths):
            block = hidden[first : first + count * length].view(count, length, -1)
            mask = torch.ones((count, length), dtype=torch.long, device=hidden.device)
            pooled.append(self._model.head(block, mask))
            first += count * length
        return torch.cat(pooled)

    def _send(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


def _are_same(expected: NDArray[np.float32], vectors: NDArray[np.float32]) -> bool:
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(vectors, axis=1)
    return bool(((expected * vectors).sum(axis=1) >= _PROBE_COSINE * lengths).all() and (lengths > 0).all())


def _scatter(rows: list[Any], batch: Sequence[int], vectors: Tensor) -> None:
    for position, vector in zip(batch, vectors.float().cpu().numpy(), strict=True):
        rows[position] = vector
