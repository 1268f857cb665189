"""`hits.total` of a fused search."""

from collections.abc import Mapping, Sequence
from typing import Any

from query.fusion.ranked_lists import FusedHit
from query.language.tree import Hybrid, Search


def total_of(response: Mapping[str, Any], search: Search, fused: Sequence[FusedHit]) -> dict[str, Any] | None:
    """The matches of all legs; with a minimum score or `autocut`, the candidates that remain."""
    if search.track_total_hits is False:
        return None
    autocut = search.ranking.autocut if isinstance(search.ranking, Hybrid) else None
    if search.ranking.min_score is not None or autocut is not None:
        return {"value": len(fused), "relation": "eq"}
    total: dict[str, Any] | None = response["hits"].get("total")
    return total
