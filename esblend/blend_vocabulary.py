"""The names that a blend accepts, shared by query defaults in mappings and by the request language."""

from typing import Literal, get_args

Normalizer = Literal["calibrated", "raw_dot", "none", "minmax", "l2_norm", "z_score", "dbsf", "theoretical"]
Combination = Literal["sum", "arithmetic_mean", "geometric_mean", "harmonic_mean"]
NORMALIZERS: tuple[str, ...] = get_args(Normalizer)
COMBINATIONS: tuple[str, ...] = get_args(Combination)
