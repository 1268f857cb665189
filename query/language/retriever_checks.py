"""Checks that several retrievers share. Each error has Elasticsearch's type, and its wording where clients match on it."""

from typing import Any

from esblend.errors import FailedValidation, InvalidRequest, MalformedRequest, UnreadableField
from query.language.checks import MAX_WINDOW, integer, number
from query.language.tree import KnnLeg, Leg, StandardLeg, inside, kind_of

MAX_LEGS, _MAX_FIELDS = 32, 1000
NORMALIZERS = ("none", "minmax", "l2_norm")
Filters = tuple[dict[str, Any], ...]
COMMON = frozenset(("filter", "min_score", "_name"))
"""Keys that every retriever has."""
LEAF_OPTIONS = ("sort", "search_after", "collapse", "terminate_after")
RETRIEVER_KEYS: dict[str, frozenset[str]] = {
    "standard": frozenset(("query", *LEAF_OPTIONS)),
    "knn": frozenset((
        "field", "query_vector", "query_vector_builder", "k", "num_candidates", "visit_percentage", "similarity", "rescore_vector",
    )),
    "rrf": frozenset(("retrievers", "query", "fields", "rank_constant", "rank_window_size")),
    "linear": frozenset(("retrievers", "query", "fields", "normalizer", "rank_window_size")),
    "rescorer": frozenset(("retriever", "rescore")),
    "text_similarity_reranker": frozenset(("retriever", "field", "inference_text", "inference_id", "rank_window_size")),
    "pinned": frozenset(("retriever", "ids", "docs", "rank_window_size")),
    "diversify": frozenset((
        "retriever", "type", "field", "lambda", "size", "rank_window_size", "query_vector", "query_vector_builder",
    )),
    "rule": frozenset(("retriever", "match_criteria", "ruleset_ids", "rank_window_size")),
}  # fmt: skip
"""The keys of each retriever in addition to `COMMON`."""
FUSED_LEG_KEYS = {"rrf": frozenset(("retriever", "weight")), "linear": frozenset(("retriever", "weight", "normalizer"))}
"""The keys of one of `retrievers`."""
RESCORE_KEYS = frozenset(("query", "window_size"))
RESCORE_QUERY_KEYS = frozenset(("rescore_query", "query_weight", "rescore_query_weight", "score_mode"))


def refuse_unknown_keys(body: dict[str, Any], kind: str, where: str) -> None:
    """Raises UnreadableField when a retriever has a key that its kind does not have."""
    refuse_unknown(body, RETRIEVER_KEYS[kind] | COMMON, where)


def refuse_unknown(body: dict[str, Any], known: set[str] | frozenset[str], where: str) -> None:
    for key in body:
        if key not in known:
            raise UnreadableField(
                f"[{where.rpartition('.')[2]}] unknown field [{key}]; it accepts {', '.join(sorted(known))}"
            )


def weight_of(body: dict[str, Any], where: str) -> float:
    weight = number(body, "weight", where=where, default=1.0) or 0.0
    if weight < 0:
        cause = InvalidRequest(f"[weight] must be non-negative, found [{weight}]")
        raise UnreadableField(f"[{where}] failed to parse field [weight]", cause)
    return weight


def normalizer_of(body: dict[str, Any], where: str) -> str | None:
    name = body.get("normalizer")
    if "normalizer" in body and name not in NORMALIZERS:
        cause = InvalidRequest(f"Unknown normalizer [{name}]")
        raise UnreadableField(f"[{where}] failed to parse field [normalizer]", cause)
    return name


def window_of(body: dict[str, Any], where: str) -> int:
    """`rank_window_size`, or 10. Raises FailedValidation if it is negative, InvalidRequest if it is out of range otherwise."""
    window: int = integer(body, "rank_window_size", 10, low=-(2**31), high=2**31 - 1, where=where)
    if window < 0:
        raise FailedValidation(f"[rank_window_size] parameter cannot be negative, found [{window}]")
    if not 1 <= window <= MAX_WINDOW:
        raise InvalidRequest(f"[{where}.rank_window_size] is {window}; it must be from 1 to {MAX_WINDOW}")
    return window


def legs_of(body: dict[str, Any], where: str) -> list[Any]:
    legs = as_list(body.get("retrievers"))
    if legs in (None, []):
        raise FailedValidation(f"[{where.rpartition('.')[2]}] must provide [retrievers] or [query]")
    if not isinstance(legs, list):
        raise MalformedRequest(f"[{where}.retrievers] must be a list of retrievers")
    if len(legs) > MAX_LEGS:
        raise InvalidRequest(f"[{where}.retrievers] has {len(legs)} legs; at most {MAX_LEGS} are allowed")
    return legs


def query_and_fields(body: dict[str, Any], where: str) -> tuple[str, tuple[str, ...] | None]:
    kind = where.rpartition(".")[2]
    if "query" not in body:
        raise FailedValidation(f"[{kind}] [query] must be provided when [fields] is specified")
    if body["query"] == "":
        raise FailedValidation(f"[{kind}] [query] cannot be empty")
    if body.get("fields") == []:
        raise FailedValidation(f"[{kind}] [fields] cannot be empty")
    if body.get("retrievers"):
        raise FailedValidation(f"[{kind}] cannot combine [retrievers] and [query]")
    fields = as_list(body.get("fields"))
    if fields is not None and not (
        isinstance(fields, list) and fields and all(isinstance(name, str) for name in fields)
    ):
        raise MalformedRequest(f"[{where}.fields] must be a list of field names, with boosts as in [title^2]")
    if fields is not None and len(fields) > _MAX_FIELDS:
        raise InvalidRequest(f"[{where}.fields] has {len(fields)} names; at most {_MAX_FIELDS} are allowed")
    return text_of(body, "query", where), tuple(fields) if fields else None


def text_of(body: dict[str, Any], key: str, where: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest(f"[{where}.{key}] must be a text")
    return value


def as_list(value: Any) -> Any:
    """A single value as a list with this value, as Elasticsearch reads it; None and lists stay unchanged."""
    return value if value is None or isinstance(value, list) else [value]


def or_default(value: float | None, default: float) -> float:
    return default if value is None else value


def check_windows(kind: str, leg: Leg) -> None:
    """Raises FailedValidation when a retriever needs more hits than the fusion below it returns."""
    key, window = window_key(kind), getattr(leg, "window", 0)
    for below in inside(leg):
        if isinstance(below, StandardLeg | KnnLeg):
            continue
        if window > below.window:
            name = kind_of(below)
            raise FailedValidation(
                f"[{kind}] requires [{key}: {window}] to be smaller than or equal to its sub retriever's {name} "
                f"[{window_key(name)}: {below.window}]"
            )


def window_key(kind: str) -> str:
    """The name of the window in a retriever's syntax."""
    return "window_size" if kind == "rescorer" else "rank_window_size"
