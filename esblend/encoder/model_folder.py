"""The description of a sentence-transformers model folder, read from its JSON files."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from esblend.errors import ModelError

InputKind = Literal["Transformer", "StaticEmbedding"]
_DIGESTED_SUFFIXES = {".json", ".txt", ".model", ".safetensors"}
_NOT_DIGESTED = {"data_config.json", "README.json"}


@dataclass(frozen=True)
class Layer:
    """A module between pooling and the vector."""

    kind: str
    """`Dense`, `LayerNorm` or `Normalize`."""
    path: Path


@dataclass(frozen=True)
class ModelFolder:
    """A model as its files describe it."""

    name: str
    path: Path
    input_kind: InputKind
    input_path: Path
    """The folder of the first module: weights, configuration and tokenizer."""
    pooling_modes: tuple[str, ...]
    layers: tuple[Layer, ...]
    """In the order in which they run, after pooling."""
    max_tokens: int
    """Longest input in word pieces, special tokens included."""
    position_offset: int
    """The position id of the first word piece. It is above 0 for RoBERTa and its descendants."""
    lower_case: bool
    query_prompt: str
    document_prompt: str
    similarity: str = "dot_product"
    """The similarity that the model was trained for, as Elasticsearch names it; `dot_product` applies to unit vectors."""
    shorter_dims: tuple[int, ...] = ()
    """Widths to which its vectors may be cut."""
    route: str = ""
    """The route of a Router (also called Asym) that this description follows; empty without a Router."""
    queries: "ModelFolder | None" = None
    """The same folder along the Router's route for queries, if it differs from the route for documents."""

    def digest(self) -> str:
        """SHA-256 over weights, configuration and vocabulary, in the order of their relative paths; 64 hex digits.

        Two machines with different files under the same model name get different digests.
        """
        total = hashlib.sha256()
        for file in sorted(p for p in self.path.rglob("*") if p.suffix in _DIGESTED_SUFFIXES and p.is_file()):
            relative = file.relative_to(self.path)
            if relative.name in _NOT_DIGESTED or relative.parts[0] in ("onnx", "openvino"):
                continue
            total.update(str(relative).encode() + b"\0")
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        return total.hexdigest()


def read_json(file: Path, name: str, *, required: bool = False) -> Any:
    """A JSON file of a model's folder; `{}` when it is missing and not required. Raises ModelError naming the model."""
    if not file.is_file():
        if required:
            raise ModelError(f"model [{name}] cannot be loaded: {file.name} is missing from its folder")
        return {}
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model [{name}] cannot be loaded: {file.name} is not valid JSON ({error})") from error
