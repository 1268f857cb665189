"""Attention for packed batches: one row of word pieces, text after text, in which each text attends to itself alone.

The lengths of the texts reach this function as an argument of the model's own forward pass, which transformers hands on to every
attention layer. An architecture that does not hand arguments on, or that needs what this function does not compute, raises
NotPackable and runs padded.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

PACKED = "esblend_packed"
"""The name under which transformers knows this attention."""
_IGNORED = {
    "dropout",
    "deterministic",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "position_ids",
}
"""Arguments that make no difference when a model is only evaluated."""


class NotPackable(Exception):  # noqa: N818
    """The architecture's attention cannot be replaced by `packed_attention`."""


def runs(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(count, length) of each run of equal lengths."""
    for length, run in groupby(lengths):
        yield sum(1 for _ in run), length


def packed_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, is_causal: bool | None = None, text_lengths: Sequence[int] | None = None, **others: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """(1, heads, tokens, width) in, (1, tokens, heads, width) out. `text_lengths` add up to the number of tokens.

    Raises NotPackable for anything that it does not compute: masks, position biases, sliding windows, soft caps.
    """
    unknown = sorted(k for k, value in others.items() if k not in _IGNORED and value is not None and value is not False)
    if text_lengths is None:
        raise NotPackable("the architecture does not pass arguments on to its attention")
    if unknown or attention_mask is not None:
        raise NotPackable(f"its attention needs {', '.join(unknown or ['a mask'])}")
    causal = bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal
    parts, first = [], 0
    for count, length in runs(text_lengths):
        after = first + count * length
        q, k, v = (_by_text(x[0, :, first:after], count, length) for x in (query, key, value))
        attended = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, scale=scaling, is_causal=causal and length > 1, enable_gqa=q.shape[1] != k.shape[1]
        )
        parts.append(attended.permute(0, 2, 1, 3).reshape(count * length, q.shape[1], v.shape[3]))
        first = after
    return torch.cat(parts).unsqueeze(0), None


def _by_text(x: Tensor, count: int, length: int) -> Tensor:
    """(heads, count x length, width) to (count, heads, length, width)."""
    return x.reshape(x.shape[0], count, length, x.shape[2]).transpose(0, 1)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
