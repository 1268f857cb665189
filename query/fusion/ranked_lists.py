"""Ranked lists and fused hits: the input and output of fusion."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, repeat
from typing import NamedTuple, overload


class Key(NamedTuple):
    """A document: ids are unique within an index only."""

    index: str  # type: ignore[assignment]  # hides the method of tuples, which is not used here
    id: str


class NumberedKey(Key):
    """A version of a document of an index with one shard; `id` is its sequence number and its primary term, as in `7/1`. A search
    uses keys of one kind only."""

    __slots__ = ()

    @property
    def number(self) -> str:
        """The sequence number."""
        return self.id.partition("/")[0]


def keys_from(indices: Iterable[str], ids: Iterable[str], kind: type[Key] = Key) -> list[Key]:
    """A key for each pair. A call of the class for each would run a function in Python."""
    return list(map(partial(tuple.__new__, kind), zip(indices, ids, strict=True)))


Scores = Mapping[Key, float]
"""A ranked list: raw scores by document, best first."""


class LegContribution(NamedTuple):
    """The contribution of one leg to a document's score."""

    leg: str
    weight: float
    rank: int | None
    """The rank in the leg's list, from 1; None when the list lacks the document."""
    raw: float | None
    normalized: float
    contribution: float
    dot: float | None = None
    """The dot product that `raw` was computed from, if the leg has one."""
    mean: float | None = None
    """The query's mean similarity to the documents of the index, where the normaliser is calibrated by it."""
    normalizer: str | None = None
    inner: "FusedHit | None" = None
    """How the leg computed `raw`, where it is part of a retriever tree."""


class Method(NamedTuple):
    """How a score was computed from its parts."""

    name: str = "linear"
    """`rrf`, `linear`, or the name of the retriever that changed the score or the order."""
    combination: str = "sum"
    rank_constant: int | None = None
    leaf: int | None = None
    """With the name `leg`: which of the tree's leaves gave the score, from 0."""


class LegContributions(Sequence[LegContribution]):
    """The contribution of each leg to a document's score. Computed on first access, because most candidates are not explained."""

    __slots__ = ("_computed", "_key", "_legs", "_part")

    def __init__(self, part: Callable[[int, Key], LegContribution], legs: int, key: Key) -> None:
        self._part = part
        self._legs = legs
        self._key = key
        self._computed: tuple[LegContribution, ...] | None = None

    def _all(self) -> tuple[LegContribution, ...]:
        if self._computed is None:
            self._computed = tuple(self._part(position, self._key) for position in range(self._legs))
        return self._computed

    def __len__(self) -> int:
        return self._legs

    @overload
    def __getitem__(self, position: int) -> LegContribution: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[LegContribution, ...]: ...
    def __getitem__(self, position: int | slice) -> LegContribution | tuple[LegContribution, ...]:
        return self._all()[position]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all() == tuple(other)

    __hash__ = None  # type: ignore[assignment]


class FusedHit(NamedTuple):
    """A document with its fused score."""

    key: Key
    score: float
    parts: Sequence[LegContribution]
    method: Method = Method()


@dataclass(frozen=True)
class RankedLeg:
    """One leg's list, ready for fusion."""

    name: str
    scores: Scores
    weight: float = 1.0
    normalizer: str | Callable[[Scores], dict[Key, float]] = "none"
    dot: Callable[[float], float] | None = None
    """Turns a raw score back to the dot product of unit vectors."""
    means: Mapping[str, float] = field(default_factory=dict)
    """By index, the mean similarity that a calibrated normaliser uses."""
    inner: Callable[[Key], FusedHit | None] = lambda _: None
    """How a score was computed."""
    is_cut: bool = False
    """Whether a document that the list lacks has a lower score than its documents: it is outside of the window."""

    @cached_property
    def ranks(self) -> dict[Key, int]:
        """The rank of each document of the list, from 1. Only explanations need it."""
        return {key: rank for rank, key in enumerate(self.scores, start=1)}

    def dot_of(self, key: Key) -> float | None:
        return self.dot(self.scores[key]) if self.dot is not None and key in self.scores else None

    def mean_of(self, key: Key) -> float | None:
        return self.means.get(key.index) if key in self.scores else None


def fuse_lists(
    legs: Sequence[RankedLeg],
    normalized: Sequence[Mapping[Key, float]],
    absent: Sequence[float],
    scores: Callable[[Sequence[Sequence[float]]], Sequence[float]],
    part: Callable[[int, Key], LegContribution],
    method: Method = Method(),
    most: int | None = None,
) -> list[FusedHit]:
    """All documents of the legs, best first; or the best `most`, and those with the same score as the last of them.

    `normalized`, `absent`: for each leg the normalised scores, and that of a document which the leg lacks. `scores`: computes the
    fused scores from the normalised scores of all documents in each leg. `part`: what a leg adds to a document's score.
    """
    keys = list(dict.fromkeys(chain.from_iterable(leg.scores for leg in legs)))
    values = [list(map(of_leg.get, keys, repeat(missing))) for of_leg, missing in zip(normalized, absent, strict=True)]
    totals = scores(values)
    # The sort is stable, also in reverse. The order of first appearance decides ties: first the documents of the first leg by their
    # ranks there, then those that only later legs have.
    order = sorted(range(len(keys)), key=totals.__getitem__, reverse=True)
    if most is not None and most < len(order):
        end = most
        while 0 < end < len(order) and totals[order[end]] == totals[order[most - 1]]:
            end += 1
        order = order[:end]
    return [FusedHit(keys[n], totals[n], LegContributions(part, len(legs), keys[n]), method) for n in order]
