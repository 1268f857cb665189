"""From word-piece vectors to one vector a text, as sentence-transformers' Pooling module does it."""

from collections.abc import Sequence

import torch
from torch import Tensor

CLAMP = 1e-9
"""The smallest divisor of a mean, so that an empty mask gives zeros and not NaN."""


def pool(hidden: Tensor, mask: Tensor, modes: Sequence[str]) -> Tensor:
    """Pool `hidden` (batch, tokens, width) over `mask` (batch, tokens; 1 for a token, 0 for padding).

    Several modes are concatenated, in the order given: (batch, width x len(modes)). Padding may be on either side.
    """
    return torch.cat([_pool(hidden, mask, mode) for mode in modes], dim=1)


def pool_packed(hidden: Tensor, starts: Tensor, modes: Sequence[str]) -> Tensor:
    """As `pool`, of texts one after the other: `hidden` (tokens, width), and `starts` with the first word piece of each text, then
    the number of all (texts + 1). No text is empty."""
    return torch.cat([_pool_packed(hidden, starts, mode) for mode in modes], dim=1)


def _pool_packed(hidden: Tensor, starts: Tensor, mode: str) -> Tensor:
    first, after = starts[:-1], starts[1:]
    if mode == "cls":
        return hidden[first]
    if mode == "lasttoken":
        return hidden[after - 1]
    if mode == "max":
        return _reduced(hidden, "max", starts)
    lengths = (after - first).unsqueeze(1).to(hidden.dtype)
    if mode == "mean":
        return _reduced(hidden, "sum", starts) / lengths
    if mode == "mean_sqrt_len_tokens":
        return _reduced(hidden, "sum", starts) / lengths.sqrt()
    if mode == "weightedmean":
        every = torch.arange(hidden.shape[0], device=hidden.device)
        weights = every - first[torch.bucketize(every, after, right=True)] + 1
        weighted = _reduced(hidden * weights.unsqueeze(1).to(hidden.dtype), "sum", starts)
        return weighted / (lengths * (lengths + 1) / 2)
    raise ValueError(f"unknown pooling mode [{mode}]")


def _reduced(hidden: Tensor, how: str, starts: Tensor) -> Tensor:
    return torch.segment_reduce(hidden, how, offsets=starts)


def _pool(hidden: Tensor, mask: Tensor, mode: str) -> Tensor:
    expanded = mask.unsqueeze(-1).to(hidden.dtype)
    first = mask.argmax(dim=1)
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    if mode == "cls":
        return hidden[rows, first]
    if mode == "lasttoken":
        last = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
        return hidden[rows, last] * expanded[rows, last]
    if mode == "max":
        return hidden.masked_fill(expanded == 0, -1e9).amax(dim=1)
    if mode == "weightedmean":
        weights = expanded * torch.arange(1, hidden.shape[1] + 1, device=hidden.device).view(1, -1, 1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=CLAMP)
    total = (hidden * expanded).sum(dim=1)
    count = expanded.sum(dim=1).clamp(min=CLAMP)
    if mode == "mean":
        return total / count
    if mode == "mean_sqrt_len_tokens":
        return total / count.sqrt()
    raise ValueError(f"unknown pooling mode [{mode}]")
