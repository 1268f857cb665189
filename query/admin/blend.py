"""`GET /_esblend/blend`: the names that `hybrid` accepts, and its defaults, for pages and tools that show them."""

from typing import Any

from esblend.blend_vocabulary import COMBINATIONS, NORMALIZERS
from esblend.plugins import FUSIONS, names
from query.fusion.blend import Blending
from query.plan.hybrid_legs import DEFAULT_ALPHA, DEFAULT_WINDOW


def describe_blend() -> dict[str, Any]:
    """The defaults of an attachment override these."""
    default = Blending()
    return {
        "normalizers": list(NORMALIZERS),
        "combinations": list(COMBINATIONS),
        "fusions": list(names(FUSIONS)),
        "defaults": {
            "alpha": DEFAULT_ALPHA,
            "fusion": default.fusion,
            "normalizer": default.normalizer,
            "combination": default.combination,
            "rank_constant": default.rank_constant,
            "rank_window_size": DEFAULT_WINDOW,
            "blending": "exact",
        },
    }
