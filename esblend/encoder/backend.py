"""The interface that every runtime of a local model implements, and the options that choose among the runtimes."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Precision = Literal["exact", "fast"]
BackendName = Literal["auto", "torch", "openvino"]
Use = Literal["documents", "queries"]
"""Throughput over many texts, or the lowest latency for one."""


class Backend(Protocol):
    """Runs a transformer, its pooling and the layers after it. Thread-safe."""

    name: str
    precision: Precision
    detail: str
    """How the model runs and, if the preferred way failed, the reason; may be empty."""

    def embed(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors of any number of word-piece id lists (none empty): (len(ids), width), float32, in the order given."""
        ...
