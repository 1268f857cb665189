"""Requires weights as safetensors: reading a pickled checkpoint can run code, reading safetensors cannot."""

import shlex
from pathlib import Path

from esblend.errors import ModelError

_CONVERT = "python -m esblend.encoder.pickled_weights"


def require_safetensors(module: Path, root: Path, name: str) -> None:
    """Raises ModelError, with the command that converts them, when a module of the model in `root` has no safetensors weights."""
    if any(module.glob("*.safetensors")):
        return
    where = "" if module == root else f" of its module [{module.name}]"
    if any(module.glob("pytorch_model*.bin")):
        raise ModelError(
            f"model [{name}] has the weights{where} in a pickled file only. esblend reads safetensors, because reading a pickled "
            f"file may run code. Convert it with: {_CONVERT} {shlex.quote(str(root))}"
        )
    raise ModelError(
        f"model [{name}] has no weights{where} in a safetensors file. If the model hub has pickled weights (*.bin), download the "
        f"whole model to a folder and convert it with: {_CONVERT} FOLDER"
    )
