"""The systems that are compared, each as a request body for one query. Each names every option that changes its ranking."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from query.fusion.blend import CALIBRATED
from query.plan.hybrid_legs import DEFAULT_ALPHA

Body = dict[str, Any]
BASELINE = "BM25"
DEPTH = 100
"""Hits that are asked for; recall is looked at down to here."""


@dataclass(frozen=True)
class System:
    """A named system: makes the body for a query's text."""

    name: str
    make: Callable[[str], Body]

    def body(self, text: str) -> Body:
        return {"_source": False, "size": DEPTH, "track_total_hits": False, **self.make(text)}


# An attachment's defaults must not change what a system is named after.
_LINEAR = {
    "fusion": "linear",
    "normalizer": CALIBRATED,
    "combination": "sum",
    "alpha": DEFAULT_ALPHA,
    "blending": "exact",
}
_RRF = {"fusion": "rrf", "rank_constant": 60, "weights": {"lexical": 1, "semantic": 1}}


def hybrid(name: str, **options: Any) -> System:
    """A system by the short form. `options` change single options of the default blend, or of equally weighted rrf."""
    default = _RRF if options.get("fusion") == "rrf" else _LINEAR
    if "alpha" in options or "weights" in options:
        default = {key: value for key, value in default.items() if key not in ("alpha", "weights")}
    asked = {"rank_window_size": DEPTH, **default, **options}
    size = min(DEPTH, asked["rank_window_size"])
    return System(name, lambda text: {"size": size, "query": {"hybrid": {"query": text, **asked}}})


def standard_systems(*, rerank: bool = False, more: Mapping[str, Any] | None = None) -> list[System]:
    """BM25, kNN, and the blends. `more`: options of `hybrid` for all of them, such as `fields` or `generation`."""
    shared = dict(more or {})
    systems = [
        hybrid(BASELINE, alpha=0, **shared),
        hybrid("kNN", alpha=1, **shared),
        hybrid("RRF", fusion="rrf", **shared),
        hybrid("linear windowed, minmax", blending="windowed", normalizer="minmax", alpha=0.5, **shared),
        hybrid("linear exact, minmax", normalizer="minmax", alpha=0.5, **shared),
        hybrid("linear exact", **shared),
    ]
    if rerank:
        systems += [
            hybrid("RRF, reranked", fusion="rrf", rerank=_RERANK, **shared),
            hybrid("linear exact, reranked", rerank=_RERANK, **shared),
        ]
    return systems


_RERANK = {"rank_window_size": DEPTH}
