"""Loads the first module of a model into PyTorch: a transformer with the attention it supports, or static embeddings."""

from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from esblend.encoder.model_folder import ModelFolder
from esblend.errors import ModelError


def load_text_module(folder: ModelFolder, dtype: torch.dtype) -> torch.nn.Module:
    """A module whose result has `last_hidden_state`, (batch, tokens, hidden). Raises ModelError when it cannot be loaded."""
    try:
        return (
            _StaticEmbedding(folder, dtype) if folder.input_kind == "StaticEmbedding" else _transformer(folder, dtype)
        )
    except ModelError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and others alike
        raise ModelError(f"model [{folder.name}] cannot be loaded: {error}") from error


def _transformer(folder: ModelFolder, dtype: torch.dtype) -> torch.nn.Module:
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoConfig, AutoModel, AutoModelForTextEncoding
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    path = str(folder.input_path)
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    # Of encoder-decoder models such as T5 only the encoder is loaded.
    text_encoder: Any = MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), AutoModel)
    # No attention implementation is named: transformers takes the best one that the architecture supports.
    loader: Any = AutoModelForTextEncoding if text_encoder.__name__.endswith("EncoderModel") else AutoModel
    model, report = loader.from_pretrained(
        path, config=config, trust_remote_code=False, use_safetensors=True, dtype=dtype, output_loading_info=True
    )
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise ModelError(
            f"model [{folder.name}] cannot be loaded: its weights do not fit its config.json; "
            f"{len(missing)} are missing, the first is [{missing[0]}]"
        )
    model.config.use_cache = False
    return model  # type: ignore[no-any-return]


class _StaticEmbedding(torch.nn.Module):
    """sentence-transformers' StaticEmbedding, also as model2vec saves it: one vector for each word piece, whatever the context.

    The mean that sentence-transformers computes in the same module is the model's mean pooling.
    """

    def __init__(self, folder: ModelFolder, dtype: torch.dtype) -> None:
        super().__init__()
        weights = load_file(folder.input_path / "model.safetensors")
        rows = weights["embedding.weight"] if "embedding.weight" in weights else _model2vec_rows(weights)
        self.rows = torch.nn.Parameter(rows.to(dtype), requires_grad=False)
        self.config = SimpleNamespace(pad_token_id=0)

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        return SimpleNamespace(last_hidden_state=torch.nn.functional.embedding(input_ids, self.rows))


def _model2vec_rows(weights: dict[str, Tensor]) -> Tensor:
    """One row for each word piece: model2vec may share rows between word pieces and weight them."""
    rows = weights["embeddings"].float()
    if "mapping" in weights:
        rows = rows[weights["mapping"].long()]
    if "weights" in weights:
        rows = rows * weights["weights"].float()[:, None]
    return rows
