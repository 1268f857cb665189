"""`search_after` over fused hits: sort values of hits, and where the page after a cursor begins."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from esblend.errors import InvalidRequest
from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import Search
from query.page.hits import key_of


def positions_of(fused: Sequence[FusedHit]) -> dict[Key, int]:
    """Each candidate's position from the worst (1) up; equal scores share a position."""
    by_score = {score: position for position, score in enumerate(sorted({hit.score for hit in fused}), 1)}
    return {hit.key: by_score[hit.score] for hit in fused}


def positions_below(fused: Sequence[FusedHit]) -> dict[Key, float]:
    """Positions between 0 and 0.5, which no candidate has, in the order of the scores."""
    return {hit.key: 0.5 * (len(fused) - number) / (len(fused) + 1) for number, hit in enumerate(fused)}


def after_position(search: Search, fused: Sequence[FusedHit]) -> Search:
    """The search with each `_score` in `search_after` replaced by the position that belongs to it."""
    after = list(search.search_after)
    for number, key in enumerate(search.sort_keys[: len(after)]):
        if key == "_score":
            score = _score(after[number])
            below = len({hit.score for hit in fused if hit.score < score})
            after[number] = below + (1.0 if any(hit.score == score for hit in fused) else 0.5)
    return replace(search, search_after=tuple(after))


def after_cursor(fused: Sequence[FusedHit], after: Sequence[Any]) -> int:
    """The position of the first hit after a cursor: after the cursor's document, or after its score if the document is gone."""
    score = _score(after[0])
    if len(after) > 1:
        for position, hit in enumerate(fused):
            if hit.score == score and _tie_breaker(hit.key) == after[1]:
                return position + 1
    return next((position for position, hit in enumerate(fused) if hit.score < score), len(fused))


def add_cursors(hits: Sequence[dict[str, Any]]) -> None:
    """Add `sort` values to hits in fused order: the score, and the document, since scores may be equal."""
    for hit in hits:
        hit["sort"] = [hit["_score"], _tie_breaker(key_of(hit))]


def _tie_breaker(key: Key) -> str:
    return f"{key.index}/{key.id}"


def _score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"[search_after]: [{value}] is not a score; use the [sort] values of the last hit")
    return float(value)
