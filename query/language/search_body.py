"""Parses the body of a search. Everything is checked here, once; what cannot be done is refused with a reason."""

from typing import Any

from esblend.blend_vocabulary import COMBINATIONS, NORMALIZERS
from esblend.errors import InvalidRequest, MalformedRequest
from esblend.plugins import FUSIONS, names
from query.language import opensearch
from query.language.checks import boolean, choice, filters_of, inner_object, integer, number, refuse_unknown
from query.language.retrievers import MAX_WINDOW, holds_ours, parse_retriever
from query.language.tree import FieldsLeg, Fusion, Hybrid, Leg, Rerank, Search, Wrapper

# Options of the page of hits, sent as they are with the request that fetches it.
PAGE_OPTIONS = (
    "_source", "fields", "docvalue_fields", "stored_fields", "script_fields", "highlight", "version", "seq_no_primary_term",
)  # fmt: skip
_COMMON_OPTIONS = ("runtime_mappings", "timeout", "pit")
_OTHER_OPTIONS = (
    "query", "retriever", "size", "from", "aggs", "aggregations", "track_total_hits", "explain", "profile", "post_filter", "sort",
    "search_after", "collapse", "suggest", "track_scores", "on_leg_failure", "search_pipeline", "min_score",
)  # fmt: skip
_MAX_TEXT = 100_000
_MAX_FIELDS = 1000
_NOT_WITH_RETRIEVER = ("query", "sort", "search_after", "min_score")


def is_ours(body: Any) -> bool:
    """Whether a search body asks for something that Elasticsearch cannot do on every licence."""
    if not isinstance(body, dict):
        return False
    query = body.get("query")
    if isinstance(query, dict) and isinstance(query.get("hybrid"), dict):
        return True
    return holds_ours(body.get("retriever"))


def parse_search(body: dict[str, Any]) -> Search:
    """Raises MalformedRequest or InvalidRequest naming the field at fault."""
    for key, value in body.items():
        if key not in (*PAGE_OPTIONS, *_OTHER_OPTIONS, *_COMMON_OPTIONS):
            raise InvalidRequest(f"[{key}] cannot be combined with a fused search")
        if value is None:
            raise MalformedRequest(f"[{key}] must not be null")
    if "retriever" in body:
        for key in _NOT_WITH_RETRIEVER:
            if key in body:
                raise InvalidRequest(f"a search has either [{key}] or [retriever], not both")
    size = integer(body, "size", 10, low=0, high=MAX_WINDOW)
    start = integer(body, "from", 0, low=0, high=MAX_WINDOW)
    if start + size > MAX_WINDOW:
        raise InvalidRequest(f"[from] + [size] must be at most {MAX_WINDOW}, but is {start + size}")
    if "aggs" in body and "aggregations" in body:
        raise MalformedRequest("[aggs] and [aggregations] are the same; give one of them")
    total = body.get("track_total_hits", 10_000)
    if not isinstance(total, bool | int):
        raise MalformedRequest("[track_total_hits] must be a boolean or a number")
    ranking = _ranking(body, size=size, start=start)
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
        fails_without_leg=choice(body, "on_leg_failure", ("degrade", "fail"), "search") == "fail",
        common=_common(body),
    )


def _ranking(body: dict[str, Any], *, size: int, start: int) -> Hybrid | Leg:
    if "retriever" in body:
        leg = parse_retriever(body["retriever"])
        if isinstance(leg, Fusion | Wrapper | FieldsLeg) and leg.window < size:
            raise InvalidRequest(
                f"[{leg.name}] requires [rank_window_size: {leg.window}] be greater than or equal to [size: {size}]"
            )
        return leg
    query = body["query"]
    if set(query) != {"hybrid"}:
        raise InvalidRequest("[hybrid] is the whole query; nothing can stand beside it")
    if "queries" in query["hybrid"]:
        return opensearch.parse_hybrid(query["hybrid"], body.get("search_pipeline"), wanted=start + size)
    if "search_pipeline" in body:
        raise InvalidRequest("[search_pipeline] belongs to a [hybrid] with [queries]")
    return _hybrid(query["hybrid"], size=size, start=start, min_score=number(body, "min_score", where="search"))


def _hybrid(body: dict[str, Any], *, size: int, start: int, min_score: float | None) -> Hybrid:
    known = {
        "query", "fields", "filter", "alpha", "weights", "fusion", "normalizer", "combination", "rank_window_size", "blending",
        "min_score", "autocut", "inner_hits", "rerank", "generation",
        "rank_constant",
    }  # fmt: skip
    refuse_unknown(body, known, "hybrid")
    text = body.get("query")
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest("[hybrid] needs a [query] that is a text")
    fields = body.get("fields")
    if len(text) > _MAX_TEXT:
        raise InvalidRequest(f"[hybrid.query] has {len(text)} characters; at most {_MAX_TEXT} are allowed")
    if fields is not None and (
        not isinstance(fields, list) or not fields or not all(isinstance(f, str) for f in fields)
    ):
        raise InvalidRequest("[hybrid.fields] must be a list of field names, with boosts as in [title^2]")
    if fields is not None and len(fields) > _MAX_FIELDS:
        raise InvalidRequest(f"[hybrid.fields] has {len(fields)} names; at most {_MAX_FIELDS} are allowed")
    window = integer(body, "rank_window_size", None, low=1, high=MAX_WINDOW, where="hybrid")
    if window is not None and window < start + size:
        raise InvalidRequest(
            f"[hybrid.rank_window_size] is {window}, which is less than [from] + [size] ({start + size})"
        )
    fusion = choice(body, "fusion", names(FUSIONS), "hybrid")
    for key, choices in (("normalizer", NORMALIZERS), ("combination", COMBINATIONS)):
        if choice(body, key, choices, "hybrid") is not None and fusion not in (None, "linear"):
            raise InvalidRequest(f"[hybrid.{key}] belongs to [fusion: linear]; [{fusion}] takes none")
    inner_hits = body.get("inner_hits")
    if inner_hits is not None and inner_hits not in (True, False, {}):
        raise InvalidRequest("[hybrid.inner_hits] must be true, false or {}")
    if not isinstance(body.get("generation"), str | None):
        raise MalformedRequest("[hybrid.generation] must name a generation")
    if "min_score" in body and min_score is not None:
        raise InvalidRequest("[min_score] and [hybrid.min_score] are the same; give one of them")
    return Hybrid(
        query=text,
        fields=tuple(fields) if fields else None,
        filters=filters_of(body, "hybrid"),
        weights=_weights(body),
        fusion=fusion,
        normalizer=body.get("normalizer"),
        combination=body.get("combination") or "sum",
        autocut=integer(body, "autocut", None, low=1, high=100, where="hybrid"),
        window=window,
        blending=choice(body, "blending", ("exact", "windowed"), "hybrid") or "exact",
        min_score=number(body, "min_score", where="hybrid") if "min_score" in body else min_score,
        inner_hits=inner_hits is not None and inner_hits is not False,
        rerank=_rerank(body, wanted=start + size),
        rank_constant=integer(body, "rank_constant", None, low=1, high=2**31 - 1, where="hybrid"),
        generation=body.get("generation"),
    )


def _weights(body: dict[str, Any]) -> dict[str, float] | None:
    """By leg, from either `alpha` or `weights`."""
    alpha = number(body, "alpha", where="hybrid", low=0, high=1)
    if body.get("weights") is None:
        return None if alpha is None else {"lexical": 1 - alpha, "semantic": alpha}
    if alpha is not None:
        raise InvalidRequest("[hybrid] takes either [alpha] or [weights]")
    given = inner_object(body, "weights", "hybrid", {})
    if len(given) > _MAX_FIELDS:
        raise InvalidRequest(f"[hybrid.weights] has {len(given)} names; at most {_MAX_FIELDS} are allowed")
    names = [name for name in given if name != "lexical"] or ["semantic"]
    weights = {
        name: number(given, name, where="hybrid.weights", low=0, default=1.0) or 0.0 for name in ("lexical", *names)
    }
    if not any(weights.values()):
        raise InvalidRequest("[hybrid.weights]: one of them must be above 0")
    return weights


def _rerank(body: dict[str, Any], *, wanted: int) -> Rerank | None:
    given = body.get("rerank")
    if given is None or given is False:
        return None
    if given is True:
        return Rerank()
    inside = inner_object(body, "rerank", "hybrid", {})
    refuse_unknown(inside, {"rank_window_size", "model"}, "hybrid.rerank")
    if not isinstance(inside.get("model"), str | None):
        raise MalformedRequest("[hybrid.rerank.model] must name a model")
    window = integer(inside, "rank_window_size", None, low=1, high=MAX_WINDOW, where="hybrid.rerank")
    if window is not None and window < wanted:
        raise InvalidRequest(f"[hybrid.rerank.rank_window_size] is {window}, less than [from] + [size] ({wanted})")
    return Rerank(window, inside.get("model"))


def _sort(body: dict[str, Any]) -> tuple[Any, ...]:
    given = body.get("sort", [])
    keys = tuple(given) if isinstance(given, list) else (given,)
    if not all(isinstance(key, str) or (isinstance(key, dict) and len(key) == 1) for key in keys):
        raise MalformedRequest("[sort] must be a field name, an object with one field, or a list of those")
    for key in keys:
        order = key.get("_score") if isinstance(key, dict) else None
        if isinstance(order, dict) and order.get("order", "desc") != "desc":
            raise InvalidRequest("[sort]: a fused search goes by [_score] from the best down only")
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
