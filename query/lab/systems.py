"""The ways to search that are compared, each as a request body for one query."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]
BASELINE = "BM25"
DEPTH = 100
"""Hits that are asked for; recall is looked at down to here."""


@dataclass(frozen=True)
class System:
    """A named way to search: makes the body for a query's text."""

    name: str
    make: Callable[[str], Body]

    def body(self, text: str) -> Body:
        return {"_source": False, "size": DEPTH, "track_total_hits": False, **self.make(text)}


def hybrid(name: str, **options: Any) -> System:
    """One by the short form."""
    asked = {"rank_window_size": DEPTH, **options}
    size = min(DEPTH, asked["rank_window_size"])
    return System(name, lambda text: {"size": size, "query": {"hybrid": {"query": text, **asked}}})


def standard_systems(*, rerank: bool = False, more: Mapping[str, Any] | None = None) -> list[System]:
    """BM25, kNN, and the blends; `more`: options of `hybrid` that all of them share, such as `fields` or `generation`."""
    shared = dict(more or {})
    systems = [
        hybrid(BASELINE, alpha=0, **shared),
        hybrid("kNN", alpha=1, **shared),
        hybrid("RRF", fusion="rrf", weights={"lexical": 1, "semantic": 1}, **shared),
        hybrid("linear windowed, minmax", blending="windowed", normalizer="minmax", alpha=0.5, **shared),
        hybrid("linear exact, minmax", normalizer="minmax", alpha=0.5, **shared),
        hybrid("linear exact", **shared),
    ]
    if rerank:
        systems += [
            hybrid("RRF, reranked", fusion="rrf", weights={"lexical": 1, "semantic": 1}, rerank=_RERANK, **shared),
            hybrid("linear exact, reranked", rerank=_RERANK, **shared),
        ]
    return systems


_RERANK = {"rank_window_size": DEPTH}
