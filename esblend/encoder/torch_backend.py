"""PyTorch: the reference on CPUs, and what runs on GPUs. Batches are packed without padding where the model allows it.

A packed batch is one row of word pieces, text after text; attention looks at each text alone. Nothing is computed for padding.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface, AutoModel
from transformers.masking_utils import AttentionMaskInterface
from transformers.utils.logging import disable_progress_bar

from esblend.encoder.backend import Precision
from esblend.encoder.batches import packed_batches, token_batches
from esblend.encoder.folder import ModelFolder
from esblend.encoder.head import Head
from esblend.errors import ModelError

log = structlog.get_logger()
_PACKED = "esblend_packed"
_PROBE = [[1, 2, 3, 4, 5, 6, 7], [3, 4], [5, 6], [9, 8, 7, 6]]
_PROBE_COSINE = 0.9999


class PooledModel(torch.nn.Module):
    """Transformer, pooling and dense layers of a model folder as one module: ids and mask in, (batch, width) out."""

    def __init__(self, folder: ModelFolder, *, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> None:
        super().__init__()
        disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self.transformer = AutoModel.from_pretrained(
                str(folder.transformer),
                trust_remote_code=False,
                use_safetensors=True,
                dtype=dtype,
                attn_implementation=attention,
            )
        except Exception as error:  # transformers raises OSError, ValueError, KeyError and others alike
            raise ModelError(f"model [{folder.name}] cannot be loaded: {error}") from error
        self.head = Head(folder.pooling_modes, folder.layers, folder.name)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors: Tensor = self.head(hidden, attention_mask)
        return vectors


class TorchModel:
    """See `Backend`. `fast` needs a GPU; there it computes in bfloat16 (float16 where the GPU has none)."""

    def __init__(self, folder: ModelFolder, *, precision: Precision, threads: int, token_budget: int) -> None:
        torch.set_num_threads(threads)
        self.name = "torch"
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if precision == "fast" and self._device.type == "cpu":
            raise ModelError("[precision: fast] on a CPU needs OpenVINO: pip install 'esblend[openvino]'")
        half = torch.bfloat16 if self._device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
        self._dtype = half if precision == "fast" else torch.float32
        self._budget = token_budget
        self._folder = folder
        self._model = self._load("sdpa")
        self._pad = int(getattr(self._model.transformer.config, "pad_token_id", 0) or 0)
        self.is_packed = self._try_packing()

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return self._embed_packed(ids) if self.is_packed else self._embed_padded(ids)

    def _load(self, attention: str) -> PooledModel:
        return PooledModel(self._folder, dtype=self._dtype, attention=attention).to(self._device).eval()

    def _try_packing(self) -> bool:
        """Take the packed way if the model gives the same vectors on it; not all let their attention be replaced."""
        padded = self._model
        with torch.inference_mode():
            expected = self._embed_padded(_PROBE)
            try:
                self._model = self._load(_PACKED)
                packed = self._embed_packed(_PROBE)
            except Exception as error:  # whatever a model's own code raises on inputs it does not expect
                log.debug("packing does not work", model=self._folder.name, cause=str(error)[:200])
                packed = np.zeros_like(expected)
        lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(packed, axis=1)
        is_same = bool(((expected * packed).sum(axis=1) >= _PROBE_COSINE * lengths).all() and (lengths > 0).all())
        if not is_same:
            self._model = padded
        return is_same

    def _embed_padded(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        rows: list[Any] = [None] * len(ids)
        for batch in token_batches([len(row) for row in ids], self._budget):
            width = max(len(ids[position]) for position in batch)
            tokens = torch.full((len(batch), width), self._pad, dtype=torch.long)
            mask = torch.zeros((len(batch), width), dtype=torch.long)
            for row, position in enumerate(batch):
                tokens[row, : len(ids[position])] = torch.tensor(ids[position], dtype=torch.long)
                mask[row, : len(ids[position])] = 1
            vectors = self._model(self._send(tokens), self._send(mask))
            _place(rows, batch, vectors)
        return np.stack(rows)

    def _embed_packed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        rows: list[Any] = [None] * len(ids)
        for batch in packed_batches([len(row) for row in ids], self._budget):
            lengths = [len(ids[position]) for position in batch]
            tokens = torch.tensor([[piece for position in batch for piece in ids[position]]])
            positions = torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0)
            inputs = {"input_ids": self._send(tokens), "position_ids": self._send(positions)}
            with _lengths_known(lengths):
                hidden = self._model.transformer(**inputs).last_hidden_state[0]
            _place(rows, batch, self._pool_packed(hidden, lengths))
        return np.stack(rows)

    def _pool_packed(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """Texts of equal length stand side by side (batches are sorted), so they are pooled together: no padding here either."""
        pooled, first = [], 0
        for count, length in _runs(lengths):
            block = hidden[first : first + count * length].view(count, length, -1)
            mask = torch.ones((count, length), dtype=torch.long, device=hidden.device)
            pooled.append(self._model.head(block, mask))
            first += count * length
        return torch.cat(pooled)

    def _send(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


def _place(rows: list[Any], batch: Sequence[int], vectors: Tensor) -> None:
    for position, vector in zip(batch, vectors.float().cpu().numpy(), strict=True):
        rows[position] = vector


def _runs(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(count, length) of each run of equal lengths."""
    for length, run in groupby(lengths):
        yield sum(1 for _ in run), length


# The attention function gets no argument of ours through every model's code, so the lengths wait here for the forward pass.
# Encoders compute one batch at a time and each process has its own.
_known_lengths: list[int] = []


class _lengths_known:  # noqa: N801
    def __init__(self, lengths: list[int]) -> None:
        self._lengths = lengths

    def __enter__(self) -> None:
        _known_lengths[:] = self._lengths

    def __exit__(self, *_: object) -> None:
        _known_lengths.clear()


def _packed_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention within each text of a packed row: (1, heads, tokens, width) in, (1, tokens, heads, width) out."""
    heads, width = query.shape[1], query.shape[3]
    parts, first = [], 0
    for count, length in _runs(_known_lengths):
        after = first + count * length
        q, k, v = (
            x[0, :, first:after].reshape(heads, count, length, width).transpose(0, 1) for x in (query, key, value)
        )
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling)
        parts.append(attended.permute(0, 2, 1, 3).reshape(count * length, heads, width))
        first = after
    return torch.cat(parts).unsqueeze(0), None


AttentionInterface.register(_PACKED, _packed_attention)
AttentionMaskInterface.register(_PACKED, lambda *_, **__: None)
