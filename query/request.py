"""Parses the body of a search into a small tree. Everything is checked here, once; what cannot be done is refused with a reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from esblend.errors import InvalidRequest, MalformedRequest
from query.fusion import COMBINATIONS

DEFAULT_WINDOW = 100
DEFAULT_ALPHA = 0.7
MAX_WINDOW = 10_000
MAX_LEGS = 32
MAX_DEPTH = 8
HYBRID_NORMALIZERS = ("none", "minmax", "l2_norm", "z_score", "dbsf", "theoretical")
RETRIEVER_NORMALIZERS = ("none", "minmax", "l2_norm")
# Options of the page of hits, sent as they are with the request that fetches it.
PAGE_OPTIONS = (
    "_source", "fields", "docvalue_fields", "stored_fields", "script_fields", "highlight", "version", "seq_no_primary_term",
)  # fmt: skip
_OTHER_OPTIONS = (
    "query", "retriever", "size", "from", "aggs", "aggregations", "track_total_hits", "explain", "runtime_mappings", "timeout",
    "track_scores",
)  # fmt: skip


@dataclass(frozen=True)
class StandardLeg:
    """A ranked list by an Elasticsearch query."""

    query: dict[str, Any]
    filters: tuple[dict[str, Any], ...] = ()
    min_score: float | None = None
    name: str = "standard"


@dataclass(frozen=True)
class KnnLeg:
    """A ranked list by nearest vectors: an Elasticsearch `knn` section, whose vector may still be a text."""

    section: dict[str, Any]
    filters: tuple[dict[str, Any], ...] = ()
    min_score: float | None = None
    name: str = "knn"


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


Leg = StandardLeg | KnnLeg | RrfLeg | LinearLeg


@dataclass(frozen=True)
class Hybrid:
    """The short form: BM25 over `fields` blended with kNN over the attachment's passages. None: the attachment's default."""

    query: str
    fields: tuple[str, ...] | None = None
    filters: tuple[dict[str, Any], ...] = ()
    alpha: float | None = None
    fusion: str | None = None
    normalizer: str | None = None
    combination: str = "sum"
    autocut: int | None = None
    """Show only what comes before this many steep falls of the score."""
    window: int | None = None
    blending: str = "exact"
    min_score: float | None = None
    inner_hits: bool = False


@dataclass(frozen=True)
class Search:
    """A whole search: how to rank, and what to show of it."""

    ranking: Hybrid | Leg
    size: int = 10
    start: int = 0
    page: dict[str, Any] = field(default_factory=dict)
    aggregations: dict[str, Any] | None = None
    track_total_hits: bool | int = 10_000
    explain: bool = False
    runtime_mappings: dict[str, Any] | None = None
    timeout: str | None = None


def is_ours(body: Any) -> bool:
    """Whether a search body asks for something that Elasticsearch cannot do on every licence."""
    if not isinstance(body, dict):
        return False
    query = body.get("query")
    if isinstance(query, dict) and isinstance(query.get("hybrid"), dict) and "queries" not in query["hybrid"]:
        return True
    retriever = body.get("retriever")
    return isinstance(retriever, dict) and any(kind in retriever for kind in ("rrf", "linear"))


def parse_search(body: dict[str, Any]) -> Search:
    """Raises MalformedRequest or InvalidRequest naming the field at fault."""
    for key in body:
        if key not in PAGE_OPTIONS and key not in _OTHER_OPTIONS:
            raise InvalidRequest(f"[{key}] cannot be combined with a fused search")
    if "query" in body and "retriever" in body:
        raise InvalidRequest("a search has either [query] or [retriever], not both")
    size = _integer(body, "size", 10, low=0, high=MAX_WINDOW)
    start = _integer(body, "from", 0, low=0, high=MAX_WINDOW)
    if start + size > MAX_WINDOW:
        raise InvalidRequest(f"[from] + [size] must be at most {MAX_WINDOW}, but is {start + size}")
    if "aggs" in body and "aggregations" in body:
        raise MalformedRequest("[aggs] and [aggregations] are the same; give one of them")
    total = body.get("track_total_hits", 10_000)
    if not isinstance(total, bool | int):
        raise MalformedRequest("[track_total_hits] must be a boolean or a number")
    ranking: Hybrid | Leg
    if "retriever" in body:
        ranking = _parse_retriever(body["retriever"], "retriever", (), depth=0)
        _check_legs(ranking)
    else:
        ranking = _parse_hybrid(body["query"], size=size, start=start)
    if isinstance(ranking, RrfLeg | LinearLeg) and ranking.window < size:
        raise InvalidRequest(
            f"[{ranking.name}] requires [rank_window_size: {ranking.window}] be greater than or equal to [size: {size}]"
        )
    return Search(
        ranking=ranking,
        size=size,
        start=start,
        page={key: body[key] for key in PAGE_OPTIONS if key in body},
        aggregations=body.get("aggs", body.get("aggregations")),
        track_total_hits=total,
        explain=_boolean(body, "explain", default=False),
        runtime_mappings=body.get("runtime_mappings"),
        timeout=body.get("timeout"),
    )


def _parse_hybrid(clause: dict[str, Any], *, size: int, start: int) -> Hybrid:
    if set(clause) != {"hybrid"}:
        raise InvalidRequest("[hybrid] is the whole query; nothing can stand beside it")
    body = clause["hybrid"]
    known = {
        "query", "fields", "filter", "alpha", "fusion", "normalizer", "combination", "rank_window_size", "blending", "min_score",
        "autocut", "inner_hits",
    }  # fmt: skip
    _refuse_unknown(body, known, "hybrid")
    text = body.get("query")
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest("[hybrid] needs a [query] that is a text")
    fields = body.get("fields")
    if fields is not None and (
        not isinstance(fields, list) or not fields or not all(isinstance(f, str) for f in fields)
    ):
        raise InvalidRequest("[hybrid.fields] must be a list of field names, with boosts as in [title^2]")
    window = _integer(body, "rank_window_size", None, low=1, high=MAX_WINDOW, where="hybrid")
    if window is not None and window < start + size:
        raise InvalidRequest(
            f"[hybrid.rank_window_size] is {window}, which is less than [from] + [size] ({start + size})"
        )
    blending = _choice(body, "blending", ("exact", "windowed"), "hybrid") or "exact"
    fusion = _choice(body, "fusion", ("linear", "rrf"), "hybrid")
    normalizer = _choice(body, "normalizer", HYBRID_NORMALIZERS, "hybrid")
    if fusion == "rrf" and normalizer is not None:
        raise InvalidRequest("[hybrid.normalizer] belongs to [fusion: linear]; [rrf] looks at ranks only")
    combination = _choice(body, "combination", tuple(COMBINATIONS), "hybrid")
    if fusion == "rrf" and combination is not None:
        raise InvalidRequest("[hybrid.combination] belongs to [fusion: linear]; [rrf] looks at ranks only")
    inner_hits = body.get("inner_hits")
    if inner_hits is not None and inner_hits not in (True, False, {}):
        raise InvalidRequest("[hybrid.inner_hits] must be true, false or {}")
    return Hybrid(
        query=text,
        fields=tuple(fields) if fields else None,
        filters=_filters(body, "hybrid"),
        alpha=_number(body, "alpha", where="hybrid", low=0, high=1),
        fusion=fusion,
        normalizer=normalizer,
        combination=combination or "sum",
        autocut=_integer(body, "autocut", None, low=1, high=100, where="hybrid"),
        window=window,
        blending=blending,
        min_score=_number(body, "min_score", where="hybrid"),
        inner_hits=inner_hits is not None and inner_hits is not False,
    )


def _parse_retriever(body: Any, where: str, outer: tuple[dict[str, Any], ...], *, depth: int) -> Leg:
    """A retriever of any kind; `outer` are the filters of those around it, which apply to every leg."""
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"retrievers are nested more than {MAX_DEPTH} deep")
    if not isinstance(body, dict) or len(body) != 1:
        raise MalformedRequest(f"[{where}] must be an object with the name of one retriever")
    [(kind, inside)] = body.items()
    if not isinstance(inside, dict):
        raise MalformedRequest(f"[{where}.{kind}] must be an object")
    where = f"{where}.{kind}"
    filters = (*outer, *_filters(inside, where))
    name = inside.get("_name", kind)
    if not isinstance(name, str):
        raise MalformedRequest(f"[{where}._name] must be a text")
    min_score = _number(inside, "min_score", where=where)
    if kind == "standard":
        _refuse_unknown(inside, {"query", "filter", "min_score", "_name"}, where)
        return StandardLeg(_object(inside, "query", where, {"match_all": {}}), filters, min_score, name)
    if kind == "knn":
        return KnnLeg(_knn_section(inside, where), filters, min_score, name)
    if kind not in ("rrf", "linear"):
        raise InvalidRequest(
            f"[{where}]: a retriever of kind [{kind}] cannot stand in a fused search; there are standard, knn, rrf, linear"
        )
    if "query" in inside or "fields" in inside:
        raise InvalidRequest(
            f"[{where}]: name the legs in [retrievers]; the form with [query] and [fields] is not supported"
        )
    window = _integer(inside, "rank_window_size", 10, low=1, high=MAX_WINDOW, where=where)
    legs = inside.get("retrievers")
    if not isinstance(legs, list) or not legs:
        raise InvalidRequest(f"[{where}.retrievers] must be a list of at least one retriever")
    if kind == "rrf":
        _refuse_unknown(
            inside, {"retrievers", "rank_constant", "rank_window_size", "filter", "min_score", "_name"}, where
        )
        constant = _integer(inside, "rank_constant", 60, low=1, high=2**31 - 1, where=where)
        weighted = tuple(_rrf_leg(leg, f"{where}.retrievers[{n}]", filters, depth) for n, leg in enumerate(legs))
        return RrfLeg(weighted, window, constant, min_score, name)
    _refuse_unknown(inside, {"retrievers", "normalizer", "rank_window_size", "filter", "min_score", "_name"}, where)
    default = _choice(inside, "normalizer", RETRIEVER_NORMALIZERS, where) or "none"
    weighted = tuple(
        _linear_leg(leg, f"{where}.retrievers[{n}]", filters, depth, default) for n, leg in enumerate(legs)
    )
    return LinearLeg(weighted, window, min_score, name)


def _rrf_leg(body: Any, where: str, filters: tuple[dict[str, Any], ...], depth: int) -> Weighted:
    if isinstance(body, dict) and "retriever" in body:
        _refuse_unknown(body, {"retriever", "weight"}, where)
        leg = _parse_retriever(body["retriever"], f"{where}.retriever", filters, depth=depth + 1)
        return Weighted(leg, _number(body, "weight", where=where, low=0, default=1.0) or 0.0)
    return Weighted(_parse_retriever(body, where, filters, depth=depth + 1))


def _linear_leg(body: Any, where: str, filters: tuple[dict[str, Any], ...], depth: int, default: str) -> Weighted:
    if not isinstance(body, dict) or "retriever" not in body:
        raise InvalidRequest(
            f"[{where}] must be an object with [retriever], and with [weight] and [normalizer] if wanted"
        )
    _refuse_unknown(body, {"retriever", "weight", "normalizer"}, where)
    leg = _parse_retriever(body["retriever"], f"{where}.retriever", filters, depth=depth + 1)
    weight = _number(body, "weight", where=where, low=0, default=1.0)
    return Weighted(leg, weight or 0.0, _choice(body, "normalizer", RETRIEVER_NORMALIZERS, where) or default)


def _knn_section(body: dict[str, Any], where: str) -> dict[str, Any]:
    known = {
        "field", "query_vector", "query_vector_builder", "k", "num_candidates", "visit_percentage", "similarity", "filter",
        "rescore_vector", "min_score", "_name",
    }  # fmt: skip
    _refuse_unknown(body, known, where)
    if not isinstance(body.get("field"), str):
        raise InvalidRequest(f"[{where}.field] must name a vector field")
    if ("query_vector" in body) == ("query_vector_builder" in body):
        raise InvalidRequest(f"[{where}] needs either [query_vector] or [query_vector_builder]")
    return {key: value for key, value in body.items() if key not in ("filter", "min_score", "_name")}


def _check_legs(leg: Leg) -> None:
    count = _count_leaves(leg)
    if count > MAX_LEGS:
        raise InvalidRequest(f"the retriever has {count} legs; at most {MAX_LEGS} are allowed")


def _count_leaves(leg: Leg) -> int:
    return sum(_count_leaves(one.leg) for one in leg.legs) if isinstance(leg, RrfLeg | LinearLeg) else 1


def _filters(body: Mapping[str, Any], where: str) -> tuple[dict[str, Any], ...]:
    found = body.get("filter")
    if found is None:
        return ()
    clauses = found if isinstance(found, list) else [found]
    if not all(isinstance(clause, dict) for clause in clauses):
        raise MalformedRequest(f"[{where}.filter] must be a query or a list of queries")
    return tuple(clauses)


def _refuse_unknown(body: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in body:
        if key not in known:
            raise MalformedRequest(f"[{where}] unknown field [{key}]; there are {', '.join(sorted(known))}")


def _object(body: Mapping[str, Any], key: str, where: str, default: dict[str, Any]) -> dict[str, Any]:
    value = body.get(key, default)
    if not isinstance(value, dict):
        raise MalformedRequest(f"[{where}.{key}] must be an object")
    return value


def _choice(body: Mapping[str, Any], key: str, choices: tuple[str, ...], where: str) -> str | None:
    value = body.get(key)
    if value is not None and value not in choices:
        raise InvalidRequest(f"[{where}.{key}] is [{value}]; there are {', '.join(choices)}")
    return value


def _boolean(body: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = body.get(key, default)
    if not isinstance(value, bool):
        raise MalformedRequest(f"[{key}] must be true or false")
    return value


def _number(
    body: Mapping[str, Any],
    key: str,
    *,
    where: str,
    low: float | None = None,
    high: float | None = None,
    default: float | None = None,
) -> float | None:
    value = body.get(key, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise MalformedRequest(f"[{where}.{key}] must be a number")
    if (low is not None and value < low) or (high is not None and value > high):
        span = f"from {low:g} to {high:g}" if low is not None and high is not None else f"at least {low:g}"
        raise InvalidRequest(f"[{where}.{key}] is {value:g}; it must be {span}")
    return float(value)


def _integer(body: Mapping[str, Any], key: str, default: Any, *, low: int, high: int, where: str = "") -> Any:
    value = body.get(key, default)
    name = f"{where}.{key}" if where else key
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise MalformedRequest(f"[{name}] must be a whole number")
    if not low <= value <= high:
        raise InvalidRequest(f"[{name}] is {value}; it must be from {low} to {high}")
    return value
