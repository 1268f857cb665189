"""Shows which side of `hybrid.interleave` each hit came from."""

from collections.abc import Mapping, Sequence
from typing import Any

from query.fusion.ranked_lists import Key
from query.fusion.team_draft import Pick
from query.page.explanation import explanation
from query.page.hits import key_of

_NAME = "interleave."


def show_sides(hits: Sequence[dict[str, Any]], picks: Mapping[Key, Pick], *, explain: bool) -> list[dict[str, str]]:
    """Name the side of each hit in its `matched_queries`, in place, and return the hits whose clicks count:
    `{"_index", "_id", "side"}`."""
    counted = []
    for hit in hits:
        pick = picks[key_of(hit)]
        name = _NAME + pick.side
        matched = hit.get("matched_queries")
        if isinstance(matched, dict):
            matched[name] = hit["_score"]
        else:
            hit["matched_queries"] = [*(matched or []), name]
        if explain:
            hit["_explanation"] = {
                "value": hit["_score"],
                "description": f"1 / rank in the interleaved list; side [{pick.side}] gives the hit this score:",
                "details": [explanation(pick.hit)],
            }
        if pick.counts:
            counted.append({"_index": hit["_index"], "_id": hit["_id"], "side": pick.side})
    return counted
