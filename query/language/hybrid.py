"""Parses the short `hybrid` form."""

from typing import Any

from esblend.blend_vocabulary import COMBINATIONS, NORMALIZERS
from esblend.errors import InvalidRequest, MalformedRequest
from esblend.plugins import FUSIONS, names
from query.language.checks import MAX_WINDOW, choice, filters_of, inner_object, integer, number, refuse_unknown
from query.language.tree import Hybrid, Rerank

_MAX_TEXT = 100_000
_MAX_FIELDS = 1000


def parse_hybrid(body: dict[str, Any], *, size: int, start: int, min_score: float | None) -> Hybrid:
    """`min_score`: from the search body. Raises MalformedRequest or InvalidRequest naming the field at fault."""
    known = {
        "query", "fields", "filter", "alpha", "weights", "fusion", "normalizer", "combination", "rank_window_size", "blending",
        "min_score", "autocut", "inner_hits", "rerank", "generation", "rank_constant",
    }  # fmt: skip
    refuse_unknown(body, known, "hybrid")
    inner_hits = body.get("inner_hits")
    if inner_hits is not None and inner_hits not in (True, False, {}):
        raise InvalidRequest("[hybrid.inner_hits] must be true, false or {}")
    if not isinstance(body.get("generation"), str | None):
        raise MalformedRequest("[hybrid.generation] must name a generation")
    if "min_score" in body and min_score is not None:
        raise InvalidRequest("[min_score] and [hybrid.min_score] are the same option; use one of them")
    return Hybrid(
        query=_query(body),
        fields=_fields(body),
        filters=filters_of(body, "hybrid"),
        weights=_weights(body),
        fusion=_fusion(body),
        normalizer=body.get("normalizer"),
        combination=body.get("combination") or "sum",
        autocut=integer(body, "autocut", None, low=1, high=100, where="hybrid"),
        window=_window(body, wanted=start + size),
        blending=choice(body, "blending", ("exact", "windowed"), "hybrid") or "exact",
        min_score=number(body, "min_score", where="hybrid") if "min_score" in body else min_score,
        inner_hits=inner_hits is not None and inner_hits is not False,
        rerank=_rerank(body, wanted=start + size),
        rank_constant=integer(body, "rank_constant", None, low=1, high=2**31 - 1, where="hybrid"),
        generation=body.get("generation"),
    )


def _query(body: dict[str, Any]) -> str:
    query = body.get("query")
    if not isinstance(query, str) or not query.strip():
        raise InvalidRequest("[hybrid.query] must be a text that is not empty")
    if len(query) > _MAX_TEXT:
        raise InvalidRequest(f"[hybrid.query] has {len(query)} characters; at most {_MAX_TEXT} are allowed")
    return query


def _fields(body: dict[str, Any]) -> tuple[str, ...] | None:
    fields = body.get("fields")
    if fields is None:
        return None
    if not isinstance(fields, list) or not fields or not all(isinstance(field, str) for field in fields):
        raise InvalidRequest("[hybrid.fields] must be a list of field names, with boosts as in [title^2]")
    if len(fields) > _MAX_FIELDS:
        raise InvalidRequest(f"[hybrid.fields] has {len(fields)} names; at most {_MAX_FIELDS} are allowed")
    return tuple(fields)


def _window(body: dict[str, Any], *, wanted: int) -> int | None:
    window: int | None = integer(body, "rank_window_size", None, low=1, high=MAX_WINDOW, where="hybrid")
    if window is not None and window < wanted:
        raise InvalidRequest(f"[hybrid.rank_window_size] is {window}, which is less than [from] + [size] ({wanted})")
    return window


def _fusion(body: dict[str, Any]) -> str | None:
    """Checks `normalizer` and `combination` as well, which only linear fusion uses."""
    fusion = choice(body, "fusion", names(FUSIONS), "hybrid")
    for key, choices in (("normalizer", NORMALIZERS), ("combination", COMBINATIONS)):
        if choice(body, key, choices, "hybrid") is not None and fusion not in (None, "linear"):
            raise InvalidRequest(f"[hybrid.{key}] needs [fusion: linear]; [{fusion}] does not use it")
    return fusion


def _weights(body: dict[str, Any]) -> dict[str, float] | None:
    """Weights by leg, from either `alpha` or `weights`."""
    alpha = number(body, "alpha", where="hybrid", low=0, high=1)
    if body.get("weights") is None:
        return None if alpha is None else {"lexical": 1 - alpha, "semantic": alpha}
    if alpha is not None:
        raise InvalidRequest("[hybrid] accepts [alpha] or [weights], not both")
    by_leg = inner_object(body, "weights", "hybrid", {})
    if len(by_leg) > _MAX_FIELDS:
        raise InvalidRequest(f"[hybrid.weights] has {len(by_leg)} names; at most {_MAX_FIELDS} are allowed")
    names = [name for name in by_leg if name != "lexical"] or ["semantic"]
    weights = {
        name: number(by_leg, name, where="hybrid.weights", low=0, default=1.0) or 0.0 for name in ("lexical", *names)
    }
    if not any(weights.values()):
        raise InvalidRequest("[hybrid.weights]: at least one weight must be above 0")
    return weights


def _rerank(body: dict[str, Any], *, wanted: int) -> Rerank | None:
    rerank = body.get("rerank")
    if rerank is None or rerank is False:
        return None
    if rerank is True:
        return Rerank()
    options = inner_object(body, "rerank", "hybrid", {})
    refuse_unknown(options, {"rank_window_size", "model"}, "hybrid.rerank")
    if not isinstance(options.get("model"), str | None):
        raise MalformedRequest("[hybrid.rerank.model] must name a model")
    window = integer(options, "rank_window_size", None, low=1, high=MAX_WINDOW, where="hybrid.rerank")
    if window is not None and window < wanted:
        raise InvalidRequest(f"[hybrid.rerank.rank_window_size] is {window}, less than [from] + [size] ({wanted})")
    return Rerank(window, options.get("model"))
