"""A parsed search: a tree of legs or the `hybrid` form, and the options of the page of hits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from query.language.semantic import PassageHits


@dataclass(frozen=True)
class StandardLeg:
    """A ranked list by an Elasticsearch query."""

    query: dict[str, Any]
    filters: tuple[dict[str, Any], ...] = ()
    min_score: float | None = None
    name: str = "standard"
    options: dict[str, Any] = field(default_factory=dict)
    """`sort`, `search_after`, `collapse`, `terminate_after`: sent unchanged."""
    is_named: bool = False
    """Whether the caller has chosen the name, which then appears in `matched_queries`."""
    indices: tuple[str, ...] = ()
    """The indices of the search that the leg is for; empty: all."""


@dataclass(frozen=True)
class KnnLeg:
    """A ranked list by nearest vectors: an Elasticsearch `knn` section, whose query may still be a text."""

    section: dict[str, Any]
    filters: tuple[dict[str, Any], ...] = ()
    min_score: float | None = None
    name: str = "knn"
    similarity: str | None = None
    """The similarity of an attached field; it converts a score to the dot product."""
    is_named: bool = False
    """Whether the caller has chosen the name, which then appears in `matched_queries`."""
    indices: tuple[str, ...] = ()
    """The indices of the search that the leg is for; empty: all."""


@dataclass(frozen=True)
class Weighted:
    leg: "Leg"
    weight: float = 1.0
    normalizer: str = "none"


@dataclass(frozen=True)
class RrfLeg:
    legs: tuple[Weighted, ...]
    window: int
    rank_constant: int = 60
    min_score: float | None = None
    name: str = "rrf"


@dataclass(frozen=True)
class LinearLeg:
    legs: tuple[Weighted, ...]
    window: int
    min_score: float | None = None
    name: str = "linear"
    combination: str = "sum"


@dataclass(frozen=True)
class FieldsLeg:
    """`rrf` or `linear` in the form with `query` and `fields`; the attachment decides which legs it becomes."""

    kind: str
    query: str
    fields: tuple[str, ...] | None
    window: int
    normalizer: str = "none"
    rank_constant: int = 60
    filters: tuple[dict[str, Any], ...] = ()
    min_score: float | None = None
    name: str = "rrf"


@dataclass(frozen=True)
class RescorerLeg:
    """Scores the best hits of a leg again with further queries, one after the other, and returns the best `window`."""

    leg: "Leg"
    rescorers: tuple["Rescorer", ...]
    window: int
    min_score: float | None = None
    name: str = "rescorer"

    @property
    def depth(self) -> int:
        """How many hits of the leg are read: the largest window of a rescorer."""
        return max(rescorer.window or 10 for rescorer in self.rescorers)


@dataclass(frozen=True)
class Rescorer:
    """`rescore` by one query: `mode` of original_weight * score and rescore_weight * the query's own score."""

    query: dict[str, Any]
    window: int | None
    original_weight: float = 1.0
    rescore_weight: float = 1.0
    mode: str = "total"


@dataclass(frozen=True)
class RerankLeg:
    """The best `window` hits of a leg in the order of a cross-encoder, which reads the query and the text of `field`."""

    leg: "Leg"
    text: str
    field: str
    window: int
    model: str | None = None
    min_score: float | None = None
    name: str = "text_similarity_reranker"


@dataclass(frozen=True)
class PinnedLeg:
    """Given documents in their order, then the hits of a leg. `documents`: (index or None, id)."""

    leg: "Leg"
    documents: tuple[tuple[str | None, str], ...]
    window: int
    filters: tuple[dict[str, Any], ...] = ()
    min_score: float | None = None
    name: str = "pinned"


@dataclass(frozen=True)
class DiversifyLeg:
    """Maximal marginal relevance: similar to the query, unlike the documents already selected."""

    leg: "Leg"
    vector_field: str
    window: int
    size: int
    relevance: float = 0.7
    """The share of relevance against novelty (`lambda`)."""
    query: dict[str, Any] = field(default_factory=dict)
    """`query_vector` or `query_vector_builder`; empty: the leg's own scores are the relevance."""
    min_score: float | None = None
    name: str = "diversify"


@dataclass(frozen=True)
class ServerLeg:
    """A retriever that Elasticsearch executes itself: `rescorer`, `diversify` or `rule` over retrievers of any licence."""

    retriever: dict[str, Any]
    leg: "Leg"
    """The leg that it reorders; the matches of this leg are counted."""
    window: int
    parsed: "Leg | None" = None
    """The equivalent leg that esblend executes; None: only Elasticsearch can execute the retriever."""
    min_score: float | None = None
    name: str = "rule"


Fusion = RrfLeg | LinearLeg
Wrapper = RescorerLeg | RerankLeg | PinnedLeg | DiversifyLeg
Leaf = StandardLeg | KnnLeg | ServerLeg
Leg = Leaf | FieldsLeg | Fusion | Wrapper


_KINDS: dict[type, str] = {
    StandardLeg: "standard", KnnLeg: "knn", RrfLeg: "rrf", LinearLeg: "linear", RescorerLeg: "rescorer",
    RerankLeg: "text_similarity_reranker", PinnedLeg: "pinned", DiversifyLeg: "diversify",
}  # fmt: skip


def kind_of(leg: Leg) -> str:
    """The name of the retriever in Elasticsearch's syntax."""
    if isinstance(leg, ServerLeg):
        return next(iter(leg.retriever))
    return leg.kind if isinstance(leg, FieldsLeg) else _KINDS[type(leg)]


def inside(leg: Leg) -> tuple[Leg, ...]:
    """The direct legs of a leg."""
    if isinstance(leg, Fusion):
        return tuple(weighted.leg for weighted in leg.legs)
    return (leg.leg,) if isinstance(leg, Wrapper) else ()


def leaves(leg: Leg) -> Iterator[Leaf]:
    """The legs that Elasticsearch answers, in the order of their first appearance."""
    if isinstance(leg, Leaf):
        yield leg
    for inner in inside(leg):
        yield from leaves(inner)


def leaf_windows(leg: Leg, window: int) -> Iterator[int]:
    """The window of each of `leaves`: the enclosing leg's window, else `window`."""
    if isinstance(leg, Leaf):
        yield window
    for inner in inside(leg):
        inner_window = leg.depth if isinstance(leg, RescorerLeg) else window if isinstance(leg, Leaf) else leg.window
        yield from leaf_windows(inner, inner_window)


@dataclass(frozen=True)
class Rerank:
    """`hybrid.rerank`: a cross-encoder reorders the best `window` hits; the others follow in their order."""

    window: int = 10
    model: str | None = None


@dataclass(frozen=True)
class Boost:
    """`hybrid.boost_by`: adds up to `weight` to the score, by the value of a field. A document without a value gets 0."""

    path: str
    """The field."""
    weight: float
    pivot: float | None = None
    """Saturation, value / (value + pivot): the value that adds half of the weight."""
    decay: dict[str, Any] = field(default_factory=dict)
    """`origin`, `scale`, `offset`, `decay` of Elasticsearch's `gauss` function."""


@dataclass(frozen=True)
class Hybrid:
    """The short form: BM25 over `fields` blended with kNN over the attachment's passages. None: the attachment's default."""

    texts: tuple[str, ...]
    """BM25 adds the scores of all texts; kNN uses the mean of their vectors."""
    fields: tuple[str, ...] | None = None
    lexical_texts: tuple[str, ...] | None = None
    """The texts of the lexical leg, if they were shortened."""
    filters: tuple[dict[str, Any], ...] = ()
    lexical_filters: tuple[dict[str, Any], ...] = ()
    """Further filters of the lexical leg only."""
    semantic_filters: tuple[dict[str, Any], ...] = ()
    lexical: dict[str, Any] | None = None
    """The lexical leg's query, instead of BM25 over `fields`."""
    lexical_options: dict[str, Any] = field(default_factory=dict)
    """Options of `multi_match`."""
    weights: Mapping[str, float] | None = None
    """`lexical`, `semantic`, or, instead of `semantic`, source fields with separate vectors."""
    fusion: str | None = None
    normalizer: str | None = None
    combination: str = "sum"
    autocut: int | None = None
    """Show only the hits before this number of steep drops in score."""
    window: int | None = None
    blending: str = "exact"
    min_score: float | None = None
    inner_hits: PassageHits | None = None
    rerank: Rerank | None = None
    rank_constant: int | None = None
    """The rank constant of rrf."""
    generation: str | None = None
    """None: the active one."""
    boosts: tuple[Boost, ...] = ()
    profile: str | None = None
    """The attachment's profile whose defaults apply."""
    interleave: "Interleave | None" = None


@dataclass(frozen=True)
class Interleave:
    """`hybrid.interleave`: two configurations of the same query, each with the shared options."""

    experiment: str
    """The caller's name for it and a digest of both configurations."""
    session: str | None
    a: Hybrid
    b: Hybrid


_TIE_BREAKERS = ("_shard_doc", {"_shard_doc": "asc"}, {"_shard_doc": {"order": "asc"}})


@dataclass(frozen=True)
class Search:
    """A whole search: how to rank, and which page of the hits to return."""

    ranking: Hybrid | Leg
    size: int = 10
    start: int = 0
    page: dict[str, Any] = field(default_factory=dict)
    aggregations: dict[str, Any] | None = None
    track_total_hits: bool | int = 10_000
    track_scores: bool = True
    """False: hits that are sorted by other keys have no score."""
    explain: bool = False
    profile: bool = False
    post_filter: dict[str, Any] | None = None
    sort: tuple[Any, ...] = ()
    search_after: tuple[Any, ...] = ()
    collapse: dict[str, Any] | None = None
    suggest: dict[str, Any] | None = None
    min_score: float | None = None
    """Applies to the fused score of a `retriever`; a `hybrid` has its own `min_score`."""
    fails_without_leg: bool = False
    """`on_leg_failure: fail`: if a leg fails, the search fails."""
    common: dict[str, Any] = field(default_factory=dict)
    """`runtime_mappings`, `timeout`, `pit`: sent with every request."""

    @property
    def pit(self) -> str | None:
        pit = self.common.get("pit")
        return pit["id"] if pit else None

    @property
    def shows_no_ids(self) -> bool:
        """Whether hits have neither ids nor sources: `stored_fields: _none_`."""
        return self.page.get("stored_fields") in ("_none_", ["_none_"])

    @property
    def counts_more(self) -> bool:
        """Whether the search requests more than the total count of the matches."""
        return any(part is not None for part in (self.aggregations, self.suggest, self.post_filter))

    @property
    def needs_elasticsearch_sort(self) -> bool:
        """Whether Elasticsearch assembles the page: it sorts by other keys than the score, or collapses."""
        if not self.sort:
            return self.collapse is not None
        first, *others = self.sort
        by_best_score = first in ("_score", {"_score": "desc"}, {"_score": {"order": "desc"}}, {"_score": {}})
        return self.collapse is not None or not by_best_score or any(key not in _TIE_BREAKERS for key in others)

    @property
    def sort_keys(self) -> tuple[str, ...]:
        return sort_names([*self.sort])


def sort_names(sort: Any) -> tuple[str, ...]:
    """The name of each key of a `sort`, in any form that Elasticsearch takes: a name, an object of fields, or a list of both."""
    keys = sort if isinstance(sort, list) else [sort]
    return tuple(name for key in keys for name in ([key] if isinstance(key, str) else key))
