"""Runs the batches of one call on a device.

batches -> launched one after the other -> all results in one copy to the host -> the caller waits, others launch

A GPU computes while Python prepares the next batch: nothing waits for a batch before the last one of a call is launched.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from esblend.errors import ModelError

log = structlog.get_logger()
Cut = Callable[[Sequence[int], int], list[list[int]]]
"""Lengths and a budget in word pieces to batches of positions."""


@dataclass(frozen=True)
class Launched:
    """The results of a call, which the device may still compute."""

    vectors: Tensor
    """(texts, width), float32, in the host's memory."""
    order: list[int]
    """The position of each row's text."""
    ended: Any = None
    """The event after which `vectors` are complete; None: they are."""

    def wait(self) -> NDArray[np.float32]:
        """The vectors in the order of the texts. Other threads run meanwhile."""
        if self.ended is not None:
            self.ended.synchronize()
        rows = np.empty(self.vectors.shape, dtype=np.float32)
        rows[self.order] = self.vectors.numpy()
        return rows


class Launcher:
    """Not thread-safe: one call launches at a time. What it launched may be waited for by another thread."""

    def __init__(self, device: torch.device, budget: int) -> None:
        """`budget`: word pieces of a batch. It shrinks when the device's memory is too small for it."""
        self.device = device
        self.budget = budget

    def launch(self, lengths: Sequence[int], cut: Cut, forward: Callable[[list[int]], Tensor]) -> Launched:
        """Launch `forward` for each batch of positions; it gives (len(batch), width) on the device. A batch that finds too little
        memory is halved, and later batches are no larger than its half. Raises ModelError when there is too little for one text.
        """
        waiting = deque(cut(lengths, self.budget))
        order: list[int] = []
        parts: list[Tensor] = []
        while waiting:
            batch = waiting.popleft()
            part = self._try(forward, batch)
            if part is not None:
                order += batch
                parts.append(part)
                continue
            if len(batch) == 1:
                raise ModelError(
                    f"the memory of the device [{self.device}] is too small for one text of {lengths[batch[0]]} word pieces"
                )
            self.budget = min(self.budget, max(1, sum(lengths[position] for position in batch) // 2))
            log.warning("device out of memory, batches are made smaller", device=str(self.device), budget=self.budget)
            middle = len(batch) // 2
            waiting.extendleft((batch[middle:], batch[:middle]))
        return self._copied(torch.cat(parts).float(), order)

    def send(self, array: NDArray[Any]) -> Tensor:
        """A copy on the device. Pinned memory is copied while Python goes on."""
        tensor = torch.from_numpy(array)
        return tensor if self.device.type == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)

    def _try(self, forward: Callable[[list[int]], Tensor], batch: list[int]) -> Tensor | None:
        try:
            return forward(batch)
        except torch.OutOfMemoryError:
            pass
        # Only here: until the end of the handler, the error holds the tensors of the failed batch.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _copied(self, vectors: Tensor, order: list[int]) -> Launched:
        if self.device.type == "cpu":
            return Launched(vectors, order)
        host = torch.empty(vectors.shape, dtype=torch.float32, pin_memory=True)
        host.copy_(vectors, non_blocking=True)
        ended = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ended.record()
        return Launched(host, order, ended)
