"""Scores pairs of query and text with a sequence-classification model (a cross-encoder)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esblend.errors import ModelError
from esblend.extras import require

MAX_TOKENS = 512
BATCH = 8


class CrossEncoder:
    """A cross-encoder from a model folder or hub name, on the CPU. Texts that are too long for the model are cut.

    Raises ModelError when the model does not exist or has no safetensors weights. No code from the folder is run.
    """

    def __init__(self, name: str, *, threads: int) -> None:
        require("torch", "transformers", purpose=f"cross-encoder [{name}]")
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True
            ).eval()
        except Exception as error:  # whatever transformers raises for an unusable folder
            where = "folder" if Path(name).exists() else "name (is it downloaded?)"
            reason = str(error).partition("\n")[0][:200]
            raise ModelError(f"cross-encoder [{name}] cannot be loaded from this {where}: {reason}") from error
        torch.set_num_threads(threads)
        self.name = name
        self._labels = int(self._model.config.num_labels)
        longest = int(getattr(self._model.config, "max_position_embeddings", MAX_TOKENS))
        self._longest = min(MAX_TOKENS, longest, int(self._tokenizer.model_max_length))

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """Relevance of each text from 0 to 1: (len(texts),). One label: its sigmoid; several: the last one's softmax."""
        import torch

        with torch.inference_mode():
            inputs = self._tokenizer(
                [query] * len(texts), list(texts), padding=True, truncation="longest_first", max_length=self._longest,
                return_tensors="pt",
            )  # fmt: skip
            logits = self._model(**inputs).logits.double()
        chances = torch.sigmoid(logits[:, 0]) if self._labels == 1 else torch.softmax(logits, dim=1)[:, -1]
        scores: NDArray[np.float64] = chances.numpy()
        if not np.isfinite(scores).all():
            raise ModelError(f"cross-encoder [{self.name}] gave NaN or an infinite score for some texts")
        return scores
