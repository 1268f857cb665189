"""The reference backend: any transformers encoder in full precision on PyTorch."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from esblend.encoder.folder import ModelFolder, read_json
from esblend.encoder.pooling import pool
from esblend.errors import ModelError


class TorchModel:
    """A transformer with its pooling and dense layers. Not normalised: that is the encoder's part."""

    def __init__(self, folder: ModelFolder, *, threads: int) -> None:
        from transformers import AutoModel
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(threads)
        try:
            self._model = AutoModel.from_pretrained(
                str(folder.transformer), trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            ).eval()
        except Exception as error:  # transformers raises OSError, ValueError, KeyError and others alike
            raise ModelError(f"model [{folder.name}] cannot be loaded: {error}") from error
        self._modes = folder.pooling_modes
        self._dense = [_dense(path, folder.name) for path in folder.dense]
        self._pad = int(getattr(self._model.config, "pad_token_id", 0) or 0)

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors of one batch of word-piece id lists: (batch, width), float32, in the order given."""
        width = max(len(row) for row in ids)
        tokens = torch.full((len(ids), width), self._pad, dtype=torch.long)
        mask = torch.zeros((len(ids), width), dtype=torch.long)
        for position, row in enumerate(ids):
            tokens[position, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[position, : len(row)] = 1
        with torch.inference_mode():
            hidden = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state
            pooled = pool(hidden, mask, self._modes)
            for layer in self._dense:
                pooled = layer(pooled)
        vectors: NDArray[np.float32] = pooled.numpy().astype(np.float32, copy=False)
        return vectors


_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": torch.nn.functional.gelu,
    "Sigmoid": torch.sigmoid,
}


def _dense(folder: Path, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    config = read_json(folder / "config.json", name, required=True)
    activation_name = str(config.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
    activation = _ACTIVATIONS.get(activation_name)
    if activation is None:
        raise ModelError(
            f"model [{name}] has a dense layer with activation [{activation_name}], which esblend does not know"
        )
    file = folder / "model.safetensors"
    if not file.is_file():
        raise ModelError(f"model [{name}]: the dense layer [{folder.name}] has no model.safetensors")
    weights = load_file(file)
    weight, bias = weights["linear.weight"].float(), weights.get("linear.bias")
    known_activation = activation
    return lambda x: known_activation(torch.nn.functional.linear(x, weight, bias.float() if bias is not None else None))
