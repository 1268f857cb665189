"""Parses the body of a search. All checks happen here; a request that cannot be fulfilled is rejected with a reason."""

from collections.abc import Iterable, Sequence
from typing import Any

from esblend.errors import FailedValidation, InvalidRequest, MalformedRequest
from query.language import opensearch
from query.language.checks import MAX_WINDOW, boolean, choice, filters_of, inner_object, integer, number
from query.language.hybrid import parse_hybrid
from query.language.rank import holds_rank, parse_rank
from query.language.retriever_checks import window_key
from query.language.retrievers import needs_esblend, parse_retriever
from query.language.tree import FieldsLeg, Fusion, Hybrid, Leg, Search, ServerLeg, Wrapper, kind_of
from query.language.url_parameters import AS_CLAUSE as AS_CLAUSE_PARAMETERS

# Options of the page of hits, which are sent unchanged with the request that fetches it.
PAGE_OPTIONS = (
    "_source", "fields", "docvalue_fields", "stored_fields", "script_fields", "highlight", "version", "seq_no_primary_term",
)  # fmt: skip
COMMON_OPTIONS = ("runtime_mappings", "timeout", "pit")
OTHER_OPTIONS = (
    "query", "retriever", "size", "from", "aggs", "aggregations", "track_total_hits", "explain", "profile", "post_filter", "sort",
    "search_after", "collapse", "suggest", "track_scores", "on_leg_failure", "search_pipeline", "min_score",
)  # fmt: skip
_NOT_WITH_RETRIEVER = ("query", "knn", "sort", "search_after", "rescore", "terminate_after", "rank", "sub_searches")


AS_CLAUSE_KEYS = frozenset(("rescore", "slice", "indices_boost", "terminate_after", "stats", "ext", "knn"))
"""Keys that only Elasticsearch can execute. With one of them, `hybrid` runs as a clause of the search."""


def fuses_legs(body: Any, parameters: Iterable[str] = ()) -> bool:
    """Whether the gateway fuses the legs of a search and fetches its hits. `parameters`: names of its URL parameters.

    A `hybrid` inside another clause is replaced instead, and Elasticsearch executes the search.
    """
    if not isinstance(body, dict):
        return False
    query = body.get("query")
    if isinstance(query, dict) and isinstance(query.get("hybrid"), dict) and "retriever" not in body:
        return not (AS_CLAUSE_KEYS & body.keys() or AS_CLAUSE_PARAMETERS & set(parameters))
    return needs_esblend(body.get("retriever")) or holds_rank(body)


def parse_clause(
    clause: dict[str, Any], conditions: Sequence[dict[str, Any]], body: dict[str, Any], *, size: int, start: int
) -> tuple[Search, dict[str, Any]]:
    """A `hybrid` inside another query, and its `boost` and `_name`. It ranks at least the hits of the page.

    `conditions`: what every hit must match; they filter both legs. Raises MalformedRequest or InvalidRequest.
    """
    options: dict[str, Any] = {key: clause[key] for key in ("boost", "_name") if key in clause}
    clause = {key: value for key, value in clause.items() if key not in options}
    clause["filter"] = [*filters_of(clause, "hybrid"), *conditions]
    if "queries" in clause:
        ranking: Hybrid | Leg = opensearch.parse_hybrid(clause, None, page_end=start + size)
    else:
        for key in ("inner_hits", "rerank", "interleave"):
            if clause.get(key) not in (None, False):
                raise InvalidRequest(
                    f"[hybrid.{key}] needs [hybrid] to be the search's only query, without other clauses"
                )
        ranking = parse_hybrid(clause, size=size, start=start, min_score=None)
    fails = choice(body, "on_leg_failure", ("degrade", "fail"), "search") == "fail"
    return Search(ranking, size, start, fails_without_leg=fails, common=common_options(body)), options


def parse_search(body: dict[str, Any]) -> Search:
    """Raises MalformedRequest or InvalidRequest naming the field at fault."""
    if "retriever" in body:
        for key in _NOT_WITH_RETRIEVER:
            if key in body:
                raise FailedValidation(f"cannot specify [retriever] and [{key}]")
    leg = parse_retriever(body["retriever"]) if "retriever" in body else None
    kind = None if leg is None else kind_of(leg)
    if leg is None and holds_rank(body):
        leg, body = parse_rank(body)
        kind = "rank"
    for key, value in body.items():
        if key not in (*PAGE_OPTIONS, *OTHER_OPTIONS, *COMMON_OPTIONS):
            raise InvalidRequest(f"[{key}] cannot be combined with a fused search")
        if value is None:
            raise MalformedRequest(f"[{key}] must not be null")
    # Elasticsearch returns the whole window of a retriever when the request has no size.
    window = leg.window if isinstance(leg, Fusion | Wrapper | FieldsLeg | ServerLeg) else None
    start = integer(body, "from", 0, low=-(2**31), high=MAX_WINDOW)
    size = integer(body, "size", max(0, (window or 10) - (start if window else 0)), low=-(2**31), high=MAX_WINDOW)
    if start < 0:
        raise InvalidRequest(f"[from] parameter cannot be negative but was [{start}]")
    if size < 0:
        raise InvalidRequest(f"[size] parameter cannot be negative, found [{size}]")
    if start + size > MAX_WINDOW:
        raise InvalidRequest(f"[from] + [size] must be at most {MAX_WINDOW}, but is {start + size}")
    if "aggs" in body and "aggregations" in body:
        raise MalformedRequest("[aggs] and [aggregations] are the same key; use one of them")
    total = _track_total_hits(body)
    if leg is not None and window is not None and window < size:
        raise FailedValidation(
            f"[{kind}] requires [{window_key(kind or '')}: {window}] be greater than or equal to [size: {size}]"
        )
    ranking = leg or _hybrid_ranking(body, size=size, start=start)
    sort = _sort(body)
    return Search(
        ranking=ranking,
        size=size,
        start=start,
        page=_page(body),
        aggregations=body.get("aggs", body.get("aggregations")),
        track_total_hits=total,
        track_scores=boolean(body, "track_scores", default=True),
        explain=boolean(body, "explain", default=False),
        profile=boolean(body, "profile", default=False),
        post_filter=inner_object(body, "post_filter", "search", {}) or None,
        sort=sort,
        search_after=_search_after(body, sort, start),
        collapse=_collapse(body),
        suggest=body.get("suggest"),
        min_score=number(body, "min_score", where="search") if leg is not None else None,
        fails_without_leg=choice(body, "on_leg_failure", ("degrade", "fail"), "search") == "fail",
        common=common_options(body),
    )


def _page(body: dict[str, Any]) -> dict[str, Any]:
    for options in (body, *_groups(body)):
        if options.get("stored_fields") in ("_none_", ["_none_"]):
            raise InvalidRequest(
                "[stored_fields: _none_] leaves out the ids by which hits are fused; use [_source: false]"
            )
    return {key: body[key] for key in PAGE_OPTIONS if key in body}


def _groups(body: dict[str, Any]) -> list[dict[str, Any]]:
    groups = body["collapse"].get("inner_hits") if isinstance(body.get("collapse"), dict) else None
    return [group for group in (groups if isinstance(groups, list) else [groups]) if isinstance(group, dict)]


def _track_total_hits(body: dict[str, Any]) -> bool | int:
    given = body.get("track_total_hits", 10_000)
    if given in ("true", "false"):
        return bool(given == "true")
    if isinstance(given, bool):
        return given
    total: int = integer(body, "track_total_hits", 10_000, low=-1, high=2**31 - 1)
    return False if total == -1 else total  # -1 turns tracking off


def _hybrid_ranking(body: dict[str, Any], *, size: int, start: int) -> Hybrid | Leg:
    query = body["query"]
    if len(query) != 1:
        raise InvalidRequest("[hybrid] must be the only clause of [query]")
    if "queries" in query["hybrid"]:
        return opensearch.parse_hybrid(query["hybrid"], body.get("search_pipeline"), page_end=start + size)
    if "search_pipeline" in body:
        raise InvalidRequest("[search_pipeline] needs a [hybrid] query with [queries]")
    return parse_hybrid(query["hybrid"], size=size, start=start, min_score=number(body, "min_score", where="search"))


def _sort(body: dict[str, Any]) -> tuple[Any, ...]:
    given = body.get("sort", [])
    keys = given if isinstance(given, list) else [given]
    if not all(isinstance(key, str | dict) for key in keys):
        raise MalformedRequest("[sort] must be a field name, an object of fields, or a list of those")
    return tuple(
        part for key in keys for part in ([key] if isinstance(key, str) else [{name: key[name]} for name in key])
    )


def _search_after(body: dict[str, Any], sort: tuple[Any, ...], start: int) -> tuple[Any, ...]:
    after = body.get("search_after", [])
    if not isinstance(after, list):
        raise MalformedRequest("[search_after] must be the list of sort values of the last hit")
    if "search_after" in body and not after:
        raise InvalidRequest("Values must contains at least one value.")
    if after and not sort:
        raise InvalidRequest("Sort must contain at least one field.")
    if after and start > 0:
        raise FailedValidation("[from] parameter must be set to 0 when [search_after] is used")
    return tuple(after)


def _collapse(body: dict[str, Any]) -> dict[str, Any] | None:
    if "collapse" not in body:
        return None
    given = inner_object(body, "collapse", "search", {})
    if not isinstance(given.get("field"), str):
        raise InvalidRequest("[collapse.field] must name a field")
    groups = given.get("inner_hits") or {}
    if not all(isinstance(group, dict) for group in (groups if isinstance(groups, list) else [groups])):
        raise MalformedRequest("[collapse.inner_hits] must be an object or a list of objects")
    return given


def common_options(body: dict[str, Any]) -> dict[str, Any]:
    """Options that are part of every request of a search."""
    pit = body.get("pit")
    if pit is not None and not (isinstance(pit, dict) and isinstance(pit.get("id"), str)):
        raise MalformedRequest("[pit] must be an object with the [id] of a point in time")
    return {key: body[key] for key in COMMON_OPTIONS if key in body}
