"""The probe vector of a model behind a service: by it, another model behind the same address and name is noticed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TEXT = "esblend checks which model this is: whales sing at night, and rust grows on old ships."
_COMPONENTS = 32
_DIGITS = 5
_MIN_COSINE = 0.98
"""The same model in another precision or on another device stays above it."""
Probe = tuple[float, ...]


def probe_of(vector: NDArray[np.float32]) -> Probe:
    """The first components of the vector of `TEXT`, scaled to length 1."""
    first = vector[:_COMPONENTS].astype(np.float64)
    return tuple(round(float(value), _DIGITS) for value in first / max(float(np.linalg.norm(first)), 1e-12))


def is_same_model(first: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """Whether both probes can come from the same model. True when one of them is missing."""
    if first is None or other is None:
        return True
    return len(first) == len(other) and float(np.dot(first, other)) >= _MIN_COSINE
