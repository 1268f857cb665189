"""PyTorch: the reference on CPUs, and the backend for GPUs. Batches are packed without padding where the model allows it."""

import threading
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esblend.encoder.backend import Precision
from esblend.encoder.batches import equal_length_batches, packed_batches, token_batches
from esblend.encoder.launches import Cut, Launched, Launcher
from esblend.encoder.model_folder import ModelFolder
from esblend.encoder.packed_attention import NESTED, PACKED, PackedTexts
from esblend.encoder.pooled_model import PooledModel
from esblend.errors import ModelError

TOKEN_BUDGETS = {"cpu": 2048, "cuda": 65_536}
"""Word pieces of a batch where the settings name no number. A GPU is busy only with many more than a CPU's caches hold."""
_PROBE = [list(range(1, length + 1)) for length in (40, 7, 4, 2, 2)]
"""Word-piece ids of texts that are embedded both ways when a model is loaded."""
_LONGER_PROBE = _PROBE[:3]
"""Some architectures (Funnel) cannot compute shorter texts without padding."""
_PROBE_COSINE = 0.9999


class TorchModel:
    """See `Backend`. `fast` needs a GPU and computes in bfloat16, or in float16 where the GPU does not support bfloat16."""

    def __init__(self, folder: ModelFolder, *, precision: Precision, threads: int, token_budget: int | None) -> None:
        torch.set_num_threads(threads)
        self.name = "torch"
        self.precision: Precision = precision
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if precision == "fast" and device.type == "cpu":
            raise ModelError("[precision: fast] on a CPU needs OpenVINO: pip install 'esblend[openvino]'")
        half = torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
        self._lock = threading.Lock()
        self._launcher = Launcher(device, token_budget or TOKEN_BUDGETS[device.type])
        self._position_offset = folder.position_offset
        model = PooledModel(folder, dtype=half if precision == "fast" else torch.float32)
        self._model = model.to(device).eval()
        self._pad = int(getattr(self._model.transformer.config, "pad_token_id", 0) or 0)
        self.is_packed, self.detail = False, ""
        self._batches: Cut = token_batches
        if folder.input_kind == "Transformer":
            obstacle = self._pack([NESTED, PACKED] if device.type == "cuda" else [PACKED])
            self.is_packed = obstacle is None
            self.detail = "" if obstacle is None else f"PyTorch pads the batches of this model: {obstacle}"
            if obstacle is not None and not self._ignores_padding():
                self._batches = equal_length_batches
                self.detail = (
                    "PyTorch computes texts of one length together: padding changes the vectors of this model, and its batches "
                    f"cannot be packed: {obstacle}"
                )

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        with self._lock:
            launched = self._launch(ids, is_packed=self.is_packed)
        return launched.wait()

    def embed_padded(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """As `embed`, in rows that are padded to the longest text of their batch."""
        return self._launch(ids, is_packed=False).wait()

    def _launch(self, ids: Sequence[Sequence[int]], *, is_packed: bool) -> Launched:
        def forward(batch: list[int]) -> Tensor:
            texts = [ids[position] for position in batch]
            return self._packed(texts) if is_packed else self._padded(texts)

        with torch.inference_mode():
            return self._launcher.launch(
                [len(row) for row in ids], packed_batches if is_packed else self._batches, forward
            )

    def _pack(self, attentions: Sequence[str]) -> str | None:
        """Replace the model's attention by the first of `attentions` that works. Gives None, or the reason why the model must run
        padded.

        Whether an architecture can be packed is known only by trying: the vectors of a probe must be the same both ways.
        """
        transformer: Any = self._model.transformer
        if not transformer.is_backend_compatible():
            return "its attention cannot be replaced"
        original = getattr(transformer.config, "_attn_implementation", None) or "eager"
        expected = self.embed_padded(_PROBE)
        obstacle = ""
        for attention in attentions:
            try:
                transformer.set_attn_implementation(attention)
                if _are_same(expected, self._launch(_PROBE, is_packed=True).wait()):
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

    def _padded(self, texts: Sequence[Sequence[int]]) -> Tensor:
        lengths = np.array([len(text) for text in texts])
        mask = np.arange(lengths.max()) < lengths[:, None]
        tokens = np.full(mask.shape, self._pad, dtype=np.int64)
        tokens[mask] = _joined(texts)
        vectors: Tensor = self._model(self._launcher.send(tokens), self._launcher.send(mask.astype(np.int64)))
        return vectors

    def _packed(self, texts: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(text) for text in texts]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        positions = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths) + self._position_offset
        tokens, where = self._launcher.send(np.stack([_joined(texts), positions])).unsqueeze(1)
        packed = PackedTexts(lengths, self._launcher.send(starts))
        hidden = self._model.transformer(input_ids=tokens, position_ids=where, packed_texts=packed).last_hidden_state[0]
        vectors: Tensor = self._model.head.packed(hidden, packed.starts)
        return vectors


def _joined(texts: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(texts), dtype=np.int64, count=sum(map(len, texts)))


def _are_same(expected: NDArray[np.float32], vectors: NDArray[np.float32]) -> bool:
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(vectors, axis=1)
    return bool(((expected * vectors).sum(axis=1) >= _PROBE_COSINE * lengths).all() and (lengths > 0).all())
