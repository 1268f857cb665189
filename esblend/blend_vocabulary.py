"""The names that a blend accepts, shared by query defaults in mappings and by the request language."""

import math
from typing import Literal, get_args

Normalizer = Literal["calibrated", "raw_dot", "none", "minmax", "l2_norm", "z_score", "dbsf", "theoretical"]
Combination = Literal["sum", "arithmetic_mean", "geometric_mean", "harmonic_mean"]
NORMALIZERS: tuple[str, ...] = get_args(Normalizer)
COMBINATIONS: tuple[str, ...] = get_args(Combination)


def has_valid_boost(field: str) -> bool:
    """Whether a field name has no boost, or a finite one of at least 0, as in `title^2`."""
    _, caret, boost = field.partition("^")
    try:
        value = float(boost) if caret else 1.0
    except ValueError:
        return False
    return math.isfinite(value) and value >= 0
