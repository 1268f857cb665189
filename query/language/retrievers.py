"""Parses `retriever` in Elasticsearch's own syntax into a tree of legs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from esblend.errors import FailedValidation, InvalidRequest, MalformedRequest
from query.language.checks import MAX_WINDOW, filters_of, inner_object, integer, number
from query.language.retriever_checks import (
    COMMON,
    FUSED_LEG_KEYS,
    LEAF_OPTIONS,
    MAX_LEGS,
    Filters,
    check_windows,
    legs_of,
    normalizer_of,
    query_and_fields,
    refuse_unknown,
    refuse_unknown_keys,
    weight_of,
    window_of,
)
from query.language.tree import (
    FieldsLeg,
    KnnLeg,
    Leg,
    LinearLeg,
    RrfLeg,
    ServerLeg,
    StandardLeg,
    Weighted,
    Wrapper,
    leaves,
)
from query.language.wrapping_retrievers import diversify, pinned, rescorer, rule, text_similarity_reranker

MAX_DEPTH = 8
PAID = frozenset(("rrf", "linear", "text_similarity_reranker", "pinned"))
"""Retrievers that need a paid licence in Elasticsearch."""
FREE = frozenset(("rescorer", "diversify"))
"""Retrievers that Elasticsearch executes on any licence, but not in every version and not over a retriever of `PAID`."""
_ON_SERVER = frozenset((*FREE, "rule"))


def kinds_of(retriever: Any, depth: int = 0) -> frozenset[str]:
    """The names of the retrievers in a tree, without those below a fusion."""
    if not isinstance(retriever, dict) or depth > MAX_DEPTH:
        return frozenset()
    below = (kinds_of(inside.get("retriever"), depth + 1) for inside in retriever.values() if isinstance(inside, dict))
    return frozenset(retriever).union(*below)


def needs_esblend(retriever: Any) -> bool:
    """Whether a retriever tree needs something that Elasticsearch cannot do on every licence or in every version."""
    return bool(kinds_of(retriever) & (PAID | FREE))


def parse_retriever(body: Any) -> Leg:
    """Raises MalformedRequest or InvalidRequest naming the field at fault."""
    leg = _parse(body, "retriever", (), 0)
    count = sum(1 for _ in leaves(leg))
    if count > MAX_LEGS:
        raise InvalidRequest(f"the retriever has {count} legs; at most {MAX_LEGS} are allowed")
    return leg


def _parse(body: Any, where: str, outer: Filters, depth: int) -> Leg:
    """A retriever of any kind; `outer`: the filters of the enclosing retrievers, which apply to every leg."""
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"retrievers are nested more than {MAX_DEPTH} deep")
    if body == {}:
        raise MalformedRequest("retriever malformed, empty clause found")
    if not isinstance(body, dict) or len(body) != 1:
        raise MalformedRequest(f"[{where}] must be an object with the name of one retriever")
    [(kind, inside)] = body.items()
    if not isinstance(inside, dict):
        raise MalformedRequest(f"[{where}.{kind}] must be an object")
    parse = _PARSERS.get(kind)
    if parse is None:
        raise MalformedRequest(f"unknown retriever [{kind}]; esblend accepts {', '.join(_PARSERS)}")
    if not isinstance(inside.get("_name", kind), str):
        raise MalformedRequest(f"[{where}.{kind}._name] must be a text")
    filters = (*outer, *filters_of(inside, f"{where}.{kind}"))
    leg = parse(inside, f"{where}.{kind}", filters, depth)
    if kind not in ("diversify", "pinned"):
        check_windows(kind, leg)
    if kind in _ON_SERVER and not kinds_of(inside.get("retriever")) & PAID:
        return _on_server(kind, inside, filters, leg)
    return leg


def _on_server(kind: str, body: dict[str, Any], filters: Filters, leg: Leg) -> Leg:
    """A retriever that Elasticsearch executes where it knows it; otherwise esblend executes the parsed `leg`."""
    given = {**body, "filter": list(filters)} if filters else body
    if isinstance(leg, ServerLeg):  # esblend cannot execute it
        return replace(leg, retriever={kind: given})
    if not isinstance(leg, Wrapper):
        return leg
    return ServerLeg({kind: given}, leg.leg, leg.window, leg, leg.min_score, leg.name)


def _standard(body: dict[str, Any], where: str, filters: Filters, _: int) -> Leg:
    refuse_unknown_keys(body, "standard", where)
    if "search_after" in body and "sort" not in body:
        raise InvalidRequest(f"[{where}.search_after] needs a [sort]")
    integer(body, "terminate_after", None, low=0, high=2**31 - 1, where=where)
    query = inner_object(body, "query", where, {"match_all": {}})
    name = body.get("_name", "standard")
    given = {key: body[key] for key in LEAF_OPTIONS if key in body}
    return StandardLeg(query, filters, number(body, "min_score", where=where), name, given, "_name" in body)


def parse_knn(body: dict[str, Any], where: str, filters: Filters, _: int) -> KnnLeg:
    """A `knn` retriever. Raises MalformedRequest or InvalidRequest naming the field at fault."""
    refuse_unknown_keys(body, "knn", where)
    if not isinstance(body.get("field"), str):
        raise InvalidRequest(f"[{where}.field] must name a vector field")
    if ("query_vector" in body) == ("query_vector_builder" in body):
        raise InvalidRequest(f"[{where}] needs either [query_vector] or [query_vector_builder]")
    section = {key: value for key, value in body.items() if key not in COMMON}
    if "k" in section:
        section["k"] = integer(section, "k", None, low=1, high=MAX_WINDOW, where=where)
    min_score = number(body, "min_score", where=where)
    return KnnLeg(section, filters, min_score, body.get("_name", "knn"), is_named="_name" in body)


def _rrf(body: dict[str, Any], where: str, filters: Filters, depth: int) -> Leg:
    refuse_unknown_keys(body, "rrf", where)
    constant = integer(body, "rank_constant", 60, low=1, high=2**31 - 1, where=where)
    window, min_score, name = window_of(body, where), number(body, "min_score", where=where), body.get("_name", "rrf")
    if "query" in body or "fields" in body:
        text, fields = query_and_fields(body, where)
        return FieldsLeg("rrf", text, fields, window, "none", constant, filters, min_score, name)
    legs = legs_of(body, where)
    weighted = tuple(_rrf_leg(leg, f"{where}.retrievers[{n}]", filters, depth) for n, leg in enumerate(legs))
    return RrfLeg(weighted, window, constant, min_score, name)


def _rrf_leg(body: Any, where: str, filters: Filters, depth: int) -> Weighted:
    if isinstance(body, dict) and "retriever" in body:
        refuse_unknown(body, FUSED_LEG_KEYS["rrf"], where)
        leg = _parse(body["retriever"], f"{where}.retriever", filters, depth + 1)
        return Weighted(leg, weight_of(body, where))
    return Weighted(_parse(body, where, filters, depth + 1))


def _linear(body: dict[str, Any], where: str, filters: Filters, depth: int) -> Leg:
    refuse_unknown_keys(body, "linear", where)
    default = normalizer_of(body, where)
    window, min_score = window_of(body, where), number(body, "min_score", where=where)
    if min_score is not None and min_score < 0:
        raise InvalidRequest(f"[min_score] must be greater than or equal to 0, was: [{min_score}]")
    name = body.get("_name", "linear")
    if "query" in body or "fields" in body:
        text, fields = query_and_fields(body, where)
        if "normalizer" not in body:
            raise FailedValidation("[linear] [normalizer] must be provided when [query] is specified")
        return FieldsLeg("linear", text, fields, window, default or "none", 60, filters, min_score, name)
    legs = legs_of(body, where)
    weighted = tuple(
        _linear_leg(leg, f"{where}.retrievers[{n}]", filters, depth, default) for n, leg in enumerate(legs)
    )
    return LinearLeg(weighted, window, min_score, name)


def _linear_leg(body: Any, where: str, filters: Filters, depth: int, default: str | None) -> Weighted:
    if not isinstance(body, dict) or "retriever" not in body:
        raise InvalidRequest(f"[{where}] must be an object with [retriever], and optionally [weight] and [normalizer]")
    refuse_unknown(body, FUSED_LEG_KEYS["linear"], where)
    leg = _parse(body["retriever"], f"{where}.retriever", filters, depth + 1)
    normalizer = normalizer_of(body, where) or default or "none"
    if default is not None and normalizer != default:
        raise InvalidRequest(
            f"[linear] All per-retriever normalizers must match the top-level normalizer: expected [{default}], found "
            f"[{normalizer}] in [{where}]"
        )
    return Weighted(leg, weight_of(body, where), normalizer)


_PARSERS: dict[str, Callable[[dict[str, Any], str, Filters, int], Leg]] = {
    "standard": _standard,
    "knn": parse_knn,
    "rrf": _rrf,
    "linear": _linear,
    "rescorer": partial(rescorer, _parse),
    "text_similarity_reranker": partial(text_similarity_reranker, _parse),
    "pinned": partial(pinned, _parse),
    "diversify": partial(diversify, _parse),
    "rule": partial(rule, _parse),
}
