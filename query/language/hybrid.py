"""Parses the short `hybrid` form."""

from functools import partial
from typing import Any

from esblend.blend_vocabulary import COMBINATIONS, NORMALIZERS, has_valid_boost
from esblend.errors import InvalidRequest, MalformedRequest
from esblend.plugins import FUSIONS, names
from query.language.boost_by import parse_boosts
from query.language.checks import MAX_WINDOW, choice, filters_of, inner_object, integer, number, refuse_unknown
from query.language.interleave import interleave_of
from query.language.semantic import parse_inner_hits
from query.language.tree import Hybrid, Rerank

_MAX_TEXT = 100_000
_MAX_FIELDS, _MAX_WILDCARDS = 1000, 100
MAX_TEXTS = 5
LEXICAL_OPTIONS = ("operator", "minimum_should_match", "fuzziness", "analyzer", "type", "tie_breaker")
"""Options of `multi_match` that `hybrid` has as well."""
Filters = tuple[dict[str, Any], ...]


HYBRID_KEYS = frozenset((
    "query", "fields", "filter", "filters", "alpha", "weights", "fusion", "normalizer", "combination", "rank_window_size",
    "blending", "min_score", "autocut", "inner_hits", "rerank", "generation", "rank_constant", "profile", "lexical", "boost_by",
    "interleave",
    *LEXICAL_OPTIONS,
))  # fmt: skip
RERANK_KEYS = frozenset(("rank_window_size", "model"))
_DEFAULT_RERANK_WINDOW = 10


def parse_hybrid(body: dict[str, Any], *, size: int, start: int, min_score: float | None) -> Hybrid:
    """`min_score`: from the search body. Raises MalformedRequest or InvalidRequest naming the field at fault."""
    refuse_unknown(body, set(HYBRID_KEYS), "hybrid")
    for key in ("generation", "profile"):
        if not isinstance(body.get(key), str | None):
            raise MalformedRequest(f"[hybrid.{key}] must name a {key}")
    if "min_score" in body and min_score is not None:
        raise InvalidRequest("[min_score] and [hybrid.min_score] are the same option; use one of them")
    lexical_filters, semantic_filters = _filters_by_leg(body)
    return Hybrid(
        texts=_texts(body),
        fields=_fields(body),
        filters=filters_of(body, "hybrid"),
        lexical_filters=lexical_filters,
        semantic_filters=semantic_filters,
        lexical=_lexical(body),
        lexical_options=_lexical_options(body),
        weights=_weights(body),
        fusion=_fusion(body),
        normalizer=body.get("normalizer"),
        combination=body.get("combination") or "sum",
        autocut=integer(body, "autocut", None, low=1, high=100, where="hybrid"),
        window=_window(body, page_end=start + size),
        blending=choice(body, "blending", ("exact", "windowed"), "hybrid") or "exact",
        min_score=number(body, "min_score", where="hybrid") if "min_score" in body else min_score,
        inner_hits=parse_inner_hits(body, "hybrid"),
        rerank=_rerank(body),
        rank_constant=integer(body, "rank_constant", None, low=1, high=2**31 - 1, where="hybrid"),
        generation=body.get("generation"),
        boosts=parse_boosts(body),
        profile=body.get("profile"),
        interleave=interleave_of(body, partial(parse_hybrid, size=size, start=start, min_score=min_score)),
    )


def _texts(body: dict[str, Any]) -> tuple[str, ...]:
    given = body.get("query")
    texts = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InvalidRequest("[hybrid.query] must be a text that is not empty, or a list of such texts")
    if len(texts) > MAX_TEXTS:
        raise InvalidRequest(f"[hybrid.query] has {len(texts)} texts; at most {MAX_TEXTS} are allowed")
    length = sum(map(len, texts))
    if length > _MAX_TEXT:
        raise InvalidRequest(f"[hybrid.query] has {length} characters; at most {_MAX_TEXT} are allowed")
    return tuple(texts)


def _filters_by_leg(body: dict[str, Any]) -> tuple[Filters, Filters]:
    """The filters of the lexical leg alone, and of the semantic leg alone."""
    by_leg = inner_object(body, "filters", "hybrid", {})
    refuse_unknown(by_leg, {"lexical", "semantic"}, "hybrid.filters")
    return _filters(by_leg, "lexical"), _filters(by_leg, "semantic")


def _filters(by_leg: dict[str, Any], leg: str) -> Filters:
    return filters_of({"filter": by_leg.get(leg)}, f"hybrid.filters.{leg}")


def _lexical(body: dict[str, Any]) -> dict[str, Any] | None:
    """A query in place of BM25 over `fields`."""
    if "lexical" not in body:
        return None
    query = inner_object(body, "lexical", "hybrid", {})
    if len(query) != 1:
        raise MalformedRequest("[hybrid.lexical] must be a query")
    for key in ("fields", *LEXICAL_OPTIONS):
        if key in body:
            raise InvalidRequest(f"[hybrid.lexical] replaces the query over fields; [{key}] cannot be used beside it")
    return query


def _lexical_options(body: dict[str, Any]) -> dict[str, Any]:
    choice(body, "operator", ("or", "and", "OR", "AND"), "hybrid")
    choice(
        body, "type", ("best_fields", "most_fields", "cross_fields", "phrase", "phrase_prefix", "bool_prefix"), "hybrid"
    )
    number(body, "tie_breaker", where="hybrid", low=0, high=1)
    for key in ("minimum_should_match", "fuzziness", "analyzer"):
        if isinstance(body.get(key, ""), bool) or not isinstance(body.get(key, ""), str | int):
            raise MalformedRequest(f"[hybrid.{key}] must be a text or a number")
    return {key: body[key] for key in LEXICAL_OPTIONS if key in body}


def _fields(body: dict[str, Any]) -> tuple[str, ...] | None:
    fields = body.get("fields")
    if fields is None:
        return None
    if not isinstance(fields, list) or not fields or not all(isinstance(field, str) for field in fields):
        raise InvalidRequest("[hybrid.fields] must be a list of field names, with boosts as in [title^2]")
    if len(fields) > _MAX_FIELDS:
        raise InvalidRequest(f"[hybrid.fields] has {len(fields)} names; at most {_MAX_FIELDS} are allowed")
    wildcards = sum("*" in field for field in fields)
    if wildcards > _MAX_WILDCARDS:
        raise InvalidRequest(
            f"[hybrid.fields] has {wildcards} names with wildcards; at most {_MAX_WILDCARDS} are allowed"
        )
    for field in fields:
        if not has_valid_boost(field):
            raise InvalidRequest(f"[hybrid.fields] has [{field}]; a boost is a number of at least 0, as in [title^2]")
    return tuple(fields)


def _window(body: dict[str, Any], *, page_end: int) -> int | None:
    window: int | None = integer(body, "rank_window_size", None, low=1, high=MAX_WINDOW, where="hybrid")
    if window is not None and window < page_end:
        raise InvalidRequest(f"[hybrid.rank_window_size] is {window}, which is less than [from] + [size] ({page_end})")
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


def _rerank(body: dict[str, Any]) -> Rerank | None:
    rerank = body.get("rerank")
    if rerank is None or rerank is False:
        return None
    if rerank is True:
        return Rerank(_DEFAULT_RERANK_WINDOW)
    options = inner_object(body, "rerank", "hybrid", {})
    refuse_unknown(options, set(RERANK_KEYS), "hybrid.rerank")
    if not isinstance(options.get("model"), str | None):
        raise MalformedRequest("[hybrid.rerank.model] must name a model")
    window = integer(options, "rank_window_size", _DEFAULT_RERANK_WINDOW, low=1, high=MAX_WINDOW, where="hybrid.rerank")
    return Rerank(window, options.get("model"))
