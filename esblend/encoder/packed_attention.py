"""Attention for packed batches: one row of word pieces, text after text, in which each text attends to itself alone.

The texts of a row reach these functions as an argument of the model's own forward pass, which transformers hands on to every
attention layer. An architecture that does not hand arguments on, or that needs what these functions do not compute, raises
NotPackable and runs padded.

    nested: all texts in one kernel of PyTorch for texts of any lengths (flash or memory-efficient attention); needs a GPU
    packed: one kernel for each run of texts of equal length
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NESTED, PACKED = "esblend_nested", "esblend_packed"
"""The names under which transformers knows these attentions."""
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
    """The architecture's attention cannot be replaced by one of this module."""


@dataclass(frozen=True)
class PackedTexts:
    """The texts of a row of word pieces."""

    lengths: Sequence[int]
    starts: Tensor
    """The first word piece of each text, then the number of all: (texts + 1,), int64, on the model's device."""


def runs(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(count, length) of each run of equal lengths."""
    for length, run in groupby(lengths):
        yield sum(1 for _ in run), length


def packed_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, is_causal: bool | None = None, packed_texts: PackedTexts | None = None, **others: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """(1, heads, tokens, width) in, (1, tokens, heads, width) out. The lengths of the texts add up to the number of tokens.

    Raises NotPackable for anything that it does not compute: masks, position biases, sliding windows, soft caps.
    """
    texts = _checked(packed_texts, attention_mask, others)
    causal = _is_causal(module, is_causal)
    parts, first = [], 0
    for count, length in runs(texts.lengths):
        after = first + count * length
        q, k, v = (_by_text(x[0, :, first:after], count, length) for x in (query, key, value))
        attended = scaled_dot_product_attention(
            q, k, v, scale=scaling, is_causal=causal and length > 1, enable_gqa=q.shape[1] != k.shape[1]
        )
        parts.append(attended.permute(0, 2, 1, 3).reshape(count * length, q.shape[1], v.shape[3]))
        first = after
    return torch.cat(parts).unsqueeze(0), None


def nested_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, is_causal: bool | None = None, packed_texts: PackedTexts | None = None, **others: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """As `packed_attention`, in one call. Key and value need as many heads as the query."""
    texts = _checked(packed_texts, attention_mask, others)
    if query.shape[1] != key.shape[1]:
        raise NotPackable("its queries share keys")
    shortest, longest = min(texts.lengths), max(texts.lengths)
    q, k, v = (
        # With both lengths given, nothing waits for the device to find them.
        torch.nested.nested_tensor_from_jagged(
            x[0].transpose(0, 1), texts.starts, min_seqlen=shortest, max_seqlen=longest
        ).transpose(1, 2)
        for x in (query, key, value)
    )
    attended = scaled_dot_product_attention(q, k, v, scale=scaling, is_causal=_is_causal(module, is_causal))
    return attended.transpose(1, 2).values().unsqueeze(0), None


def _checked(texts: PackedTexts | None, attention_mask: Tensor | None, others: Mapping[str, Any]) -> PackedTexts:
    unknown = sorted(k for k, value in others.items() if k not in _IGNORED and value is not None and value is not False)
    if texts is None:
        raise NotPackable("the architecture does not pass arguments on to its attention")
    if unknown or attention_mask is not None:
        raise NotPackable(f"its attention needs {', '.join(unknown or ['a mask'])}")
    return texts


def _is_causal(module: torch.nn.Module, is_causal: bool | None) -> bool:
    return bool(getattr(module, "is_causal", True)) if is_causal is None else is_causal


def _by_text(x: Tensor, count: int, length: int) -> Tensor:
    """(heads, count x length, width) to (count, heads, length, width)."""
    return x.reshape(x.shape[0], count, length, x.shape[2]).transpose(0, 1)


for _name, _attention in ((NESTED, nested_attention), (PACKED, packed_attention)):
    AttentionInterface.register(_name, _attention)
    AttentionMaskInterface.register(_name, lambda *_, **__: None)
