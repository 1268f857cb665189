"""Team-draft interleaving: one list of hits from two rankings, each hit credited to the ranking that put it there."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from query.fusion.ranked_lists import FusedHit, Key


@dataclass(frozen=True)
class Pick:
    """A hit, with its score of the side that it came from."""

    hit: FusedHit
    side: str
    counts: bool = True
    """False below the end of the shorter ranking: there only one side can pick, so the pick says nothing about the sides."""


def team_draft(a: Sequence[FusedHit], b: Sequence[FusedHit], seed: bytes) -> list[Pick]:
    """Interleave two rankings (Radlinski, Kurup and Joachims, CIKM 2008, algorithm 2).

    Each side in turn picks its best hit that the list lacks. The side with fewer picks is next; a coin decides between equals, so
    both sides have the same chance at each pair of ranks. When one ranking ends, the rest of the other follows, without credit.
    The same `seed` throws the same coins.
    """
    rankings, sizes = {"a": a, "b": b}, {"a": 0, "b": 0}
    positions = {"a": 0, "b": 0}
    picked: set[Key] = set()
    picks: list[Pick] = []
    coins = _coins(seed)
    while True:
        for side, ranking in rankings.items():
            while positions[side] < len(ranking) and ranking[positions[side]].key in picked:
                positions[side] += 1
        if any(positions[side] == len(ranking) for side, ranking in rankings.items()):
            break
        if sizes["a"] == sizes["b"]:
            side = "a" if next(coins) else "b"
        else:
            side = min(sizes, key=lambda name: sizes[name])
        hit = rankings[side][positions[side]]
        picks.append(Pick(hit, side))
        picked.add(hit.key)
        sizes[side] += 1
    rest = [(side, hit) for side, ranking in rankings.items() for hit in ranking[positions[side] :]]
    return picks + [Pick(hit, side, counts=False) for side, hit in rest if hit.key not in picked]


def _coins(seed: bytes) -> Iterator[bool]:
    number = 0
    while True:
        yield bool(hashlib.sha256(seed + number.to_bytes(4, "big")).digest()[0] & 1)
        number += 1
