"""The result of the ranking step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappings.attachment import Attachment
from query.fusion.ranked_lists import FusedHit, Key
from query.fusion.team_draft import Pick
from query.language.tree import Leaf
from query.plan.knn import Vector

MANY_CANDIDATES = 1000
"""With more candidates, fusion and the building of requests run in a thread, so that other callers do not wait."""


@dataclass(frozen=True)
class RankedCandidates:
    """All candidates in their final order, and the queries needed to show and count them."""

    fused: list[FusedHit]
    match_queries: list[dict[str, Any]]
    """The lexical legs' queries: everything they match is counted and aggregated."""
    nearest: list[Key]
    """Documents from kNN legs and pins."""
    vector: Vector | None = None
    """The query's vector, which finds each hit's best passages."""
    attachment: Attachment | None = None
    shown: tuple[dict[str, Any], ...] = ()
    """The caller's queries with `inner_hits` or `_name`."""
    only_candidates: bool = False
    """Whether totals and aggregations are over the candidates only, as with a minimum score."""
    picks: Mapping[Key, Pick] = field(default_factory=dict)
    """With `hybrid.interleave`, the side of each candidate."""
    below_minimum: tuple[FusedHit, ...] = ()
    """Candidates that a minimum score beside the retriever removed. The groups of `collapse` still show them."""
    outside_post_filter: tuple[FusedHit, ...] = ()
    """Candidates that `post_filter` removed from `fused`. Aggregations still see them."""
    leaves: tuple[tuple[Leaf, int], ...] = ()
    """The leaves of a retriever tree with their windows, for explanations."""
    page: tuple[list[dict[str, Any]], dict[str, Any]] | None = None
    """The page's hits and the response with their total, if one request ranked and fetched them. `fused` has these hits only."""
    listed: Sequence[Key] = ()
    """Documents of the legs' lists, each once, if sequence numbers identify them."""
    total: dict[str, Any] | None = None
    """`hits.total` if the legs counted it; None if it must be requested."""
    matched: Mapping[str, Any] | None = None
    """`hits.total` of the only lexical leg, without the nearest documents that it does not match."""
