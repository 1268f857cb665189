"""A whole model as one PyTorch module: transformer, pooling and the layers after it."""

import torch
from torch import Tensor

from esblend.encoder.head import Head
from esblend.encoder.model_folder import ModelFolder
from esblend.encoder.text_module import load_text_module


class PooledModel(torch.nn.Module):
    """Ids and mask (batch, tokens) in, vectors (batch, width) out. Raises ModelError when it cannot be loaded.

    The transformer computes in `dtype`, the head always in float32.
    """

    def __init__(self, folder: ModelFolder, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.transformer = load_text_module(folder, dtype)
        self.head = Head(folder.pooling_modes, folder.layers, folder.name)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors: Tensor = self.head(hidden, attention_mask)
        return vectors
