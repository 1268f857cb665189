"""The layers of a model after its transformer: pooling, then Dense, LayerNorm and Normalize in the model's order."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from esblend.encoder.model_folder import Layer, read_json
from esblend.encoder.pooling import pool, pool_packed
from esblend.errors import ModelError

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": torch.nn.functional.gelu,
    "SiLU": torch.nn.functional.silu,
    "Sigmoid": torch.sigmoid,
}


class Head(torch.nn.Module):
    """Word-piece vectors (batch, tokens, hidden) and their mask to text vectors (batch, width), in float32."""

    def __init__(self, modes: Sequence[str], layers: Sequence[Layer], name: str) -> None:
        super().__init__()
        self._modes = modes
        self.layers = torch.nn.ModuleList(_LAYERS[layer.kind](layer.path, name) for layer in layers)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self._after_pooling(pool(hidden.float(), mask, self._modes))

    def packed(self, hidden: Tensor, starts: Tensor) -> Tensor:
        """As `forward`, of texts without padding; see `pool_packed`."""
        return self._after_pooling(pool_packed(hidden.float(), starts, self._modes))

    def _after_pooling(self, vectors: Tensor) -> Tensor:
        for layer in self.layers:
            vectors = layer(vectors)
        return vectors


class _Dense(torch.nn.Module):
    """sentence-transformers' Dense: activation(x W + b), with a residual connection where its config says so."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__()
        config = read_json(folder / "config.json", name, required=True)
        kind = str(config.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
        if kind not in _ACTIVATIONS:
            raise ModelError(f"model [{name}] has a Dense module with the activation [{kind}], which is not supported")
        self._activation = _ACTIVATIONS[kind]
        self._has_residual = bool(config.get("use_residual", False))
        weights = _weights(folder, name)
        self.weight = torch.nn.Parameter(weights["linear.weight"].float(), requires_grad=False)
        self.bias = _parameter(weights.get("linear.bias"))
        self.residual = _parameter(weights.get("residual.weight"))

    def forward(self, x: Tensor) -> Tensor:
        result = self._activation(torch.nn.functional.linear(x, self.weight, self.bias))
        if not self._has_residual:
            return result
        return result + (x if self.residual is None else torch.nn.functional.linear(x, self.residual))


class _LayerNorm(torch.nn.Module):
    """sentence-transformers' LayerNorm over the text vector."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__()
        weights = _weights(folder, name)
        self.weight, self.bias = _parameter(weights["norm.weight"]), _parameter(weights["norm.bias"])

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(x, x.shape[-1:], self.weight, self.bias)


class _Normalize(torch.nn.Module):
    """Scales each vector to Euclidean length 1."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.normalize(x, dim=-1)


_LAYERS: dict[str, Callable[[Path, str], torch.nn.Module]] = {
    "Dense": _Dense,
    "LayerNorm": _LayerNorm,
    "Normalize": _Normalize,
}


def _weights(folder: Path, name: str) -> dict[str, Tensor]:
    try:
        return load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"model [{name}]: the weights of its module [{folder.name}] cannot be read: {error}"
        ) from error


def _parameter(weights: Tensor | None) -> torch.nn.Parameter | None:
    return None if weights is None else torch.nn.Parameter(weights.float(), requires_grad=False)
