"""Parses the body of a search. All checks happen here; a request that cannot be fulfilled is rejected with a reason."""

from typing import Any

from esblend.errors import FailedValidation, InvalidRequest, MalformedRequest
from query.language import opensearch
from query.language.checks import MAX_WINDOW, boolean, choice, inner_object, integer, number
from query.language.hybrid import parse_hybrid
from query.language.retrievers import holds_ours, parse_retriever
from query.language.tree import FieldsLeg, Fusion, Hybrid, Leg, RescorerLeg, Search, Wrapper, kind_of

# Options of the page of hits, which are sent unchanged with the request that fetches it.
PAGE_OPTIONS = (
    "_source", "fields", "docvalue_fields", "stored_fields", "script_fields", "highlight", "version", "seq_no_primary_term",
)  # fmt: skip
_COMMON_OPTIONS = ("runtime_mappings", "timeout", "pit")
_OTHER_OPTIONS = (
    "query", "retriever", "size", "from", "aggs", "aggregations", "track_total_hits", "explain", "profile", "post_filter", "sort",
    "search_after", "collapse", "suggest", "track_scores", "on_leg_failure", "search_pipeline", "min_score",
)  # fmt: skip
_NOT_WITH_RETRIEVER = ("query", "knn", "sort", "search_after", "rescore", "terminate_after", "rank", "sub_searches")


def is_ours(body: Any) -> bool:
    """Whether a search body needs the gateway: Elasticsearch cannot answer it on every licence."""
    if not isinstance(body, dict):
        return False
    query = body.get("query")
    if isinstance(query, dict) and isinstance(query.get("hybrid"), dict):
        return True
    return holds_ours(body.get("retriever"))


def parse_search(body: dict[str, Any]) -> Search:
    """Raises MalformedRequest or InvalidRequest naming the field at fault."""
    if "retriever" in body:
        for key in _NOT_WITH_RETRIEVER:
            if key in body:
                raise FailedValidation(f"cannot specify [retriever] and [{key}]")
    for key, value in body.items():
        if key not in (*PAGE_OPTIONS, *_OTHER_OPTIONS, *_COMMON_OPTIONS):
            raise InvalidRequest(f"[{key}] cannot be combined with a fused search")
        if value is None:
            raise MalformedRequest(f"[{key}] must not be null")
    leg = parse_retriever(body["retriever"]) if "retriever" in body else None
    # Elasticsearch returns the whole window of a retriever when the request has no size.
    window = leg.window if isinstance(leg, Fusion | Wrapper | FieldsLeg) else None
    start = integer(body, "from", 0, low=0, high=MAX_WINDOW)
    size = integer(body, "size", max(0, (window or 10) - (start if window else 0)), low=0, high=MAX_WINDOW)
    if start + size > MAX_WINDOW:
        raise InvalidRequest(f"[from] + [size] must be at most {MAX_WINDOW}, but is {start + size}")
    if "aggs" in body and "aggregations" in body:
        raise MalformedRequest("[aggs] and [aggregations] are the same key; use one of them")
    total = _track_total_hits(body)
    if leg is not None and window is not None and window < size:
        raise FailedValidation(
            f"[{kind_of(leg)}] requires [{_window_key(leg)}: {window}] be greater than or equal to [size: {size}]"
        )
    ranking = leg or _hybrid_ranking(body, size=size, start=start)
    sort = _sort(body)
    return Search(
        ranking=ranking,
        size=size,
        start=start,
        page={key: body[key] for key in PAGE_OPTIONS if key in body},
        aggregations=body.get("aggs", body.get("aggregations")),
        track_total_hits=total,
        explain=boolean(body, "explain", default=False),
        profile=boolean(body, "profile", default=False),
        post_filter=inner_object(body, "post_filter", "search", {}) or None,
        sort=sort,
        search_after=_search_after(body, sort, start),
        collapse=_collapse(body),
        suggest=body.get("suggest"),
        min_score=number(body, "min_score", where="search") if leg is not None else None,
        fails_without_leg=choice(body, "on_leg_failure", ("degrade", "fail"), "search") == "fail",
        common=_common(body),
    )


def _track_total_hits(body: dict[str, Any]) -> bool | int:
    given = body.get("track_total_hits", 10_000)
    if given in ("true", "false"):
        return bool(given == "true")
    if isinstance(given, bool):
        return given
    total: int = integer(body, "track_total_hits", 10_000, low=-1, high=2**31 - 1)
    return False if total == -1 else total  # -1 turns tracking off


def _window_key(leg: Leg) -> str:
    return "window_size" if isinstance(leg, RescorerLeg) else "rank_window_size"


def _hybrid_ranking(body: dict[str, Any], *, size: int, start: int) -> Hybrid | Leg:
    query = body["query"]
    if set(query) != {"hybrid"}:
        raise InvalidRequest("[hybrid] must be the only clause of [query]")
    if "queries" in query["hybrid"]:
        return opensearch.parse_hybrid(query["hybrid"], body.get("search_pipeline"), wanted=start + size)
    if "search_pipeline" in body:
        raise InvalidRequest("[search_pipeline] needs a [hybrid] query with [queries]")
    return parse_hybrid(query["hybrid"], size=size, start=start, min_score=number(body, "min_score", where="search"))


def _sort(body: dict[str, Any]) -> tuple[Any, ...]:
    given = body.get("sort", [])
    keys = tuple(given) if isinstance(given, list) else (given,)
    if not all(isinstance(key, str) or (isinstance(key, dict) and len(key) == 1) for key in keys):
        raise MalformedRequest("[sort] must be a field name, an object with one field, or a list of those")
    for key in keys:
        order = key.get("_score") if isinstance(key, dict) else None
        if isinstance(order, dict) and order.get("order", "desc") != "desc":
            raise InvalidRequest("[sort]: a fused search can be sorted by [_score] in descending order only")
    return keys


def _search_after(body: dict[str, Any], sort: tuple[Any, ...], start: int) -> tuple[Any, ...]:
    after = body.get("search_after", [])
    if not isinstance(after, list):
        raise MalformedRequest("[search_after] must be the list of sort values of the last hit")
    if after and not sort:
        raise InvalidRequest("Sort must contain at least one field.")
    if after and start > 0:
        raise InvalidRequest("`from` parameter must be set to 0 when `search_after` is used")
    return tuple(after)


def _collapse(body: dict[str, Any]) -> dict[str, Any] | None:
    given = inner_object(body, "collapse", "search", {})
    if given and not isinstance(given.get("field"), str):
        raise InvalidRequest("[collapse.field] must name a field")
    return given or None


def _common(body: dict[str, Any]) -> dict[str, Any]:
    pit = body.get("pit")
    if pit is not None and not (isinstance(pit, dict) and isinstance(pit.get("id"), str)):
        raise MalformedRequest("[pit] must be an object with the [id] of a point in time")
    return {key: body[key] for key in _COMMON_OPTIONS if key in body}
