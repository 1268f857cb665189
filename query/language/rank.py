"""The form of reciprocal rank fusion before `retriever`: `query` or `sub_searches`, `knn`, and `rank: {"rrf": {...}}`.

Clients up to 8.15 send it. Elasticsearch has replaced it by the `rrf` retriever in 8.16.
"""

from dataclasses import replace
from typing import Any

from esblend.errors import FailedValidation, InvalidRequest, MalformedRequest
from query.language.checks import integer
from query.language.retriever_checks import Filters, refuse_unknown, window_of
from query.language.retrievers import parse_knn
from query.language.tree import Leg, RrfLeg, StandardLeg, Weighted

RRF_KEYS = frozenset(("rank_constant", "rank_window_size", "window_size"))
_PARTS = ("rank", "query", "knn", "sub_searches")
_NOT_WITH_RANK = ("sort", "search_after", "rescore", "slice", "scroll")


def holds_rank(body: dict[str, Any]) -> bool:
    """Whether a search body has the form of this module."""
    rank = body.get("rank")
    return isinstance(rank, dict) and "rrf" in rank


def parse_rank(body: dict[str, Any]) -> tuple[Leg, dict[str, Any]]:
    """The equivalent tree, and the other keys of the body. Raises InvalidRequest or MalformedRequest."""
    for key in _NOT_WITH_RANK:
        if key in body:
            raise FailedValidation(f"[rank] cannot be used with [{key}]")
    rank = body["rank"]
    if set(rank) != {"rrf"} or not isinstance(rank["rrf"], dict):
        raise MalformedRequest("[rank] must be an object with [rrf]")
    rrf = dict(rank["rrf"])
    refuse_unknown(rrf, RRF_KEYS, "rank.rrf")
    if "window_size" in rrf:  # its name before 8.14
        rrf.setdefault("rank_window_size", rrf["window_size"])
    legs = (*_queries(body), *_nearest(body))
    if len(legs) < 2:
        raise FailedValidation(
            "[rank] requires a minimum of [2] result sets using a combination of sub searches and/or knn searches"
        )
    constant = integer(rrf, "rank_constant", 60, low=1, high=2**31 - 1, where="rank.rrf")
    leg = RrfLeg(tuple(map(Weighted, legs)), window_of(rrf, "rank.rrf"), constant)
    rest = {key: value for key, value in body.items() if key not in _PARTS}
    return leg, {"size": 10, **rest}


def _queries(body: dict[str, Any]) -> list[Leg]:
    if "sub_searches" not in body:
        return [_standard(_object(body["query"], "query"))] if "query" in body else []
    if "query" in body:
        raise InvalidRequest("cannot specify both [query] and [sub_searches]")
    searches = body["sub_searches"]
    if not isinstance(searches, list) or not searches:
        raise MalformedRequest("[sub_searches] must be a list of objects with a [query]")
    legs: list[Leg] = []
    for search in searches:
        if set(_object(search, "sub_searches")) != {"query"}:
            raise MalformedRequest("[sub_searches] must be a list of objects with a [query] and nothing else")
        legs.append(_standard(_object(search["query"], "sub_searches.query")))
    return legs


def _standard(query: dict[str, Any]) -> StandardLeg:
    """A leg with the name of its query, as Elasticsearch names it in explanations."""
    for options in query.values():
        for inside in (
            (options, *options.values()) if isinstance(options, dict) else ()
        ):  # {"term": {field: {"_name": ...}}}
            if isinstance(inside, dict) and isinstance(inside.get("_name"), str):
                return StandardLeg(query, name=inside["_name"])
    return StandardLeg(query)


def _nearest(body: dict[str, Any]) -> list[Leg]:
    given = body.get("knn", [])
    legs: list[Leg] = []
    for section in given if isinstance(given, list) else [given]:
        section = dict(_object(section, "knn"))
        if "inner_hits" in section:
            raise InvalidRequest("[knn.inner_hits] cannot be combined with [rank]")
        boost = {key: section.pop(key) for key in ("boost",) if key in section}
        leg = parse_knn(section, "knn", _filters(section), 0)
        legs.append(replace(leg, section={**leg.section, **boost}))
    return legs


def _filters(section: dict[str, Any]) -> Filters:
    given = section.get("filter", [])
    return tuple(_object(query, "knn.filter") for query in (given if isinstance(given, list) else [given]))


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedRequest(f"[{where}] must be an object")
    return value
