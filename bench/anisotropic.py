"""Writes an anisotropic encoder: the packaged MiniLM plus a common direction in every vector.

Many encoders place all texts in a narrow cone, so that unrelated texts have a dot product of 0.7 or more. This one does so by a
Dense module of identity weights and a constant bias; apart from the common direction its vectors are those of MiniLM:

    Transformer -> Pooling -> Normalize -> Dense (x + bias) -> Normalize
"""

import json
import shutil
from pathlib import Path

import numpy as np

from esblend.encoder.folder import find_model

MODERATE = 1.5
"""Euclidean length of the bias for a mean dot product of about 0.72 between unrelated texts, as GTE's models have it."""
STRONG = 3.0
"""The same for about 0.91."""
# With a bias of length b that is orthogonal to the unit vectors x and y, the dot product is (x . y + b^2) / (1 + b^2); MiniLM's
# x . y is about 0.1 for unrelated texts.
WIDTH = 384


def write_anisotropic_encoder(folder: Path, strength: float = MODERATE) -> Path:
    """Write a sentence-transformers folder at `folder`, which must not exist or be empty, and return it.

    `strength`: the length of the bias. All its components are equal; MiniLM's vectors have almost no variance in that direction.
    """
    minilm = find_model("minilm").path
    shutil.copytree(minilm, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("README.md", ".gitattributes"))
    dense = folder / "3_Dense"
    dense.mkdir()
    (folder / "4_Normalize").mkdir()
    _write_dense(dense, np.full(WIDTH, strength / WIDTH**0.5, dtype=np.float32))
    modules = json.loads((folder / "modules.json").read_text())
    modules += [_module(3, "3_Dense", "Dense"), _module(4, "4_Normalize", "Normalize")]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2))
    return folder


def _write_dense(folder: Path, bias: np.ndarray) -> None:
    from safetensors.numpy import save_file

    weights = {"linear.weight": np.eye(WIDTH, dtype=np.float32), "linear.bias": bias}
    save_file(weights, folder / "model.safetensors")
    config = {
        "in_features": WIDTH,
        "out_features": WIDTH,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (folder / "config.json").write_text(json.dumps(config))


def _module(number: int, folder: str, kind: str) -> dict[str, object]:
    return {"idx": number, "name": str(number), "path": folder, "type": f"sentence_transformers.models.{kind}"}
