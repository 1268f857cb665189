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
    """`min_score`: that of the search body. Raises MalformedRequest or InvalidRequest naming the field at fault."""
    known = {
        "query", "fields", "filter", "alpha", "weights", "fusion", "normalizer", "combination", "rank_window_size", "blending",
        "min_score", "autocut", "inner_hits", "rerank", "generation", "rank_constant",
    }  # fmt: skip
    refuse_unknown(body, known, "hybrid")
    text = body.get("query")
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest("[hybrid] needs a [query], a text")
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
            raise InvalidRequest(f"[hybrid.{key}] needs [fusion: linear]; [{fusion}] does not use it")
    inner_hits = body.get("inner_hits")
    if inner_hits is not None and inner_hits not in (True, False, {}):
        raise InvalidRequest("[hybrid.inner_hits] must be true, false or {}")
    if not isinstance(body.get("generation"), str | None):
        raise MalformedRequest("[hybrid.generation] must name a generation")
    if "min_score" in body and min_score is not None:
        raise InvalidRequest("[min_score] and [hybrid.min_score] are the same option; use one of them")
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
        raise InvalidRequest("[hybrid] accepts [alpha] or [weights], not both")
    given = inner_object(body, "weights", "hybrid", {})
    if len(given) > _MAX_FIELDS:
        raise InvalidRequest(f"[hybrid.weights] has {len(given)} names; at most {_MAX_FIELDS} are allowed")
    names = [name for name in given if name != "lexical"] or ["semantic"]
    weights = {
        name: number(given, name, where="hybrid.weights", low=0, default=1.0) or 0.0 for name in ("lexical", *names)
    }
    if not any(weights.values()):
        raise InvalidRequest("[hybrid.weights]: at least one weight must be above 0")
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
