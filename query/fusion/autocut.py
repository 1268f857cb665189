"""Cuts a fused list where its scores drop steeply."""

from collections.abc import Sequence

from query.fusion.ranked_lists import FusedHit

_EPSILON = 1e-9


def autocut(fused: Sequence[FusedHit], jumps: int) -> list[FusedHit]:
    """The documents before the `jumps`-th steep drop of the score (Weaviate's idea of a jump).

    With ranks and scores both scaled to [0, 1], a drop is steep where the curve is furthest below the straight line from the
    first score to the last, in each run between local peaks of that distance.
    """
    if len(fused) < 2 or jumps < 1:
        return list(fused)
    first, last = fused[0].score, fused[-1].score
    if first - last < _EPSILON:
        return list(fused)
    below = [rank / (len(fused) - 1) - (first - hit.score) / (first - last) for rank, hit in enumerate(fused)]
    drops = [
        rank
        for rank in range(1, len(fused))
        if below[rank] < below[rank - 1] and (rank + 1 == len(fused) or below[rank] <= below[rank + 1])
    ]
    return list(fused[: drops[jumps - 1]] if len(drops) >= jumps else fused)
