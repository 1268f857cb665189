"""The systems to compare, each as the request body for one query. A body sets every option that changes the ranking."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from query.fusion.blend import CALIBRATED
from query.plan.hybrid_legs import DEFAULT_ALPHA

Body = dict[str, Any]
BASELINE = "BM25"
BLEND = "linear exact"
"""The system that `hybrid` without options runs, unless the attachment has defaults."""
DEPTH = 100
"""Hits per query; recall is measured down to this rank."""

WHOLE: Body = {"on_leg_failure": "fail"}
"""A search without its semantic leg ranks as BM25 does, under the name of another system: it ends the measurement."""


@dataclass(frozen=True)
class System:
    """A named system, which builds the request body for a query's text."""

    name: str
    make: Callable[[str], Body]

    def body(self, text: str) -> Body:
        return {"_source": False, "size": DEPTH, "track_total_hits": False, **WHOLE, **self.make(text)}


# Every option is set, so that an attachment's defaults cannot make a system differ from its name.
_LINEAR = {
    "fusion": "linear",
    "normalizer": CALIBRATED,
    "combination": "sum",
    "alpha": DEFAULT_ALPHA,
    "blending": "exact",
}
_RRF = {"fusion": "rrf", "rank_constant": 60, "weights": {"lexical": 1, "semantic": 1}}


def hybrid(name: str, **options: Any) -> System:
    """A system that uses the `hybrid` form. `options` override the default blend, or equally weighted rrf."""
    default = _RRF if options.get("fusion") == "rrf" else _LINEAR
    if "alpha" in options or "weights" in options:
        default = {key: value for key, value in default.items() if key not in ("alpha", "weights")}
    chosen = {"rank_window_size": DEPTH, **default, **options}
    size = min(DEPTH, chosen["rank_window_size"])
    return System(name, lambda text: {"size": size, "query": {"hybrid": {"query": text, **chosen}}})


def standard_systems(*, rerank: bool = False, shared_options: Mapping[str, Any] | None = None) -> list[System]:
    """BM25, kNN, and the blends. `shared_options`: options of `hybrid` for all of them, such as `fields` or `generation`."""
    shared = dict(shared_options or {})
    systems = [
        hybrid(BASELINE, alpha=0, **shared),
        hybrid("kNN", alpha=1, **shared),
        hybrid("RRF", fusion="rrf", **shared),
        hybrid("linear windowed, minmax", blending="windowed", normalizer="minmax", alpha=0.5, **shared),
        hybrid("linear exact, minmax", normalizer="minmax", alpha=0.5, **shared),
        hybrid(BLEND, **shared),
    ]
    if rerank:
        systems += [
            hybrid("RRF, reranked", fusion="rrf", rerank=_RERANK, **shared),
            hybrid("linear exact, reranked", rerank=_RERANK, **shared),
        ]
    return systems


_RERANK = {"rank_window_size": DEPTH}
