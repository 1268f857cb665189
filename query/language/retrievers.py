"""Parses `retriever` in Elasticsearch's own syntax into a tree of legs."""

from typing import Any

from esblend.errors import FailedValidation, InvalidRequest, MalformedRequest, UnreadableField
from query.language.checks import MAX_WINDOW, choice, filters_of, inner_object, integer, number
from query.language.tree import (
    DiversifyLeg,
    FieldsLeg,
    Fusion,
    KnnLeg,
    Leg,
    LinearLeg,
    PinnedLeg,
    RerankLeg,
    Rescorer,
    RescorerLeg,
    RrfLeg,
    StandardLeg,
    Weighted,
    leaves,
)

MAX_LEGS = 32
MAX_DEPTH = 8
MAX_PINNED = 100
NORMALIZERS = ("none", "minmax", "l2_norm")
OURS = frozenset(("rrf", "linear", "text_similarity_reranker", "pinned", "diversify"))
"""Retrievers that need a paid licence in Elasticsearch."""
Filters = tuple[dict[str, Any], ...]
_SCORE_MODES = ("total", "multiply", "avg", "max", "min")
_COMMON = frozenset(("filter", "min_score", "_name"))


def holds_ours(retriever: Any, depth: int = 0) -> bool:
    """Whether a kind of `OURS` occurs anywhere in a retriever tree."""
    if not isinstance(retriever, dict) or depth > MAX_DEPTH:
        return False
    return any(
        kind in OURS or (isinstance(inside, dict) and holds_ours(inside.get("retriever"), depth + 1))
        for kind, inside in retriever.items()
    )


def parse_retriever(body: Any) -> Leg:
    """Raises MalformedRequest or InvalidRequest naming the field at fault."""
    leg = _parse(body, "retriever", (), 0)
    count = sum(1 for _ in leaves(leg))
    if count > MAX_LEGS:
        raise InvalidRequest(f"the retriever has {count} legs; at most {MAX_LEGS} are allowed")
    return leg


def _parse(body: Any, where: str, outer: Filters, depth: int) -> Leg:
    """A retriever of any kind; `outer` are the filters of those around it, which apply to every leg."""
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
    return parse(inside, f"{where}.{kind}", (*outer, *filters_of(inside, f"{where}.{kind}")), depth)


def _standard(body: dict[str, Any], where: str, filters: Filters, _: int) -> Leg:
    options = ("sort", "search_after", "collapse", "terminate_after")
    _refuse_unknown(body, {"query", *options, *_COMMON}, where)
    if "search_after" in body and "sort" not in body:
        raise InvalidRequest(f"[{where}.search_after] needs a [sort]")
    integer(body, "terminate_after", None, low=0, high=2**31 - 1, where=where)
    query = inner_object(body, "query", where, {"match_all": {}})
    name = body.get("_name", "standard")
    given = {key: body[key] for key in options if key in body}
    return StandardLeg(query, filters, number(body, "min_score", where=where), name, given, "_name" in body)


def _knn(body: dict[str, Any], where: str, filters: Filters, _: int) -> Leg:
    known = {
        "field", "query_vector", "query_vector_builder", "k", "num_candidates", "visit_percentage", "similarity", "rescore_vector",
    }  # fmt: skip
    _refuse_unknown(body, known | _COMMON, where)
    if not isinstance(body.get("field"), str):
        raise InvalidRequest(f"[{where}.field] must name a vector field")
    if ("query_vector" in body) == ("query_vector_builder" in body):
        raise InvalidRequest(f"[{where}] needs either [query_vector] or [query_vector_builder]")
    section = {key: value for key, value in body.items() if key not in _COMMON}
    if "k" in section:
        section["k"] = integer(section, "k", None, low=1, high=MAX_WINDOW, where=where)
    min_score = number(body, "min_score", where=where)
    return KnnLeg(section, filters, min_score, body.get("_name", "knn"), is_named="_name" in body)


def _rrf(body: dict[str, Any], where: str, filters: Filters, depth: int) -> Leg:
    _refuse_unknown(body, {"retrievers", "query", "fields", "rank_constant", "rank_window_size", *_COMMON}, where)
    constant = integer(body, "rank_constant", 60, low=1, high=2**31 - 1, where=where)
    window, min_score, name = _window(body, where), number(body, "min_score", where=where), body.get("_name", "rrf")
    if "query" in body or "fields" in body:
        text, fields = _query_and_fields(body, where)
        return FieldsLeg("rrf", text, fields, window, "none", constant, filters, min_score, name)
    legs = _legs(body, where)
    weighted = tuple(_rrf_leg(leg, f"{where}.retrievers[{n}]", filters, depth) for n, leg in enumerate(legs))
    return RrfLeg(weighted, window, constant, min_score, name)


def _rrf_leg(body: Any, where: str, filters: Filters, depth: int) -> Weighted:
    if isinstance(body, dict) and "retriever" in body:
        _refuse_unknown(body, {"retriever", "weight"}, where)
        leg = _parse(body["retriever"], f"{where}.retriever", filters, depth + 1)
        return Weighted(leg, _weight(body, where))
    return Weighted(_parse(body, where, filters, depth + 1))


def _linear(body: dict[str, Any], where: str, filters: Filters, depth: int) -> Leg:
    _refuse_unknown(body, {"retrievers", "query", "fields", "normalizer", "rank_window_size", *_COMMON}, where)
    default = _normalizer(body, where) or "none"
    window, min_score = _window(body, where), number(body, "min_score", where=where)
    name = body.get("_name", "linear")
    if "query" in body or "fields" in body:
        text, fields = _query_and_fields(body, where)
        if "normalizer" not in body:
            raise FailedValidation("[linear] [normalizer] must be provided when [query] is specified")
        return FieldsLeg("linear", text, fields, window, default, 60, filters, min_score, name)
    legs = _legs(body, where)
    weighted = tuple(
        _linear_leg(leg, f"{where}.retrievers[{n}]", filters, depth, default) for n, leg in enumerate(legs)
    )
    return LinearLeg(weighted, window, min_score, name)


def _linear_leg(body: Any, where: str, filters: Filters, depth: int, default: str) -> Weighted:
    if not isinstance(body, dict) or "retriever" not in body:
        raise InvalidRequest(
            f"[{where}] must be an object with [retriever], and with [weight] and [normalizer] if wanted"
        )
    _refuse_unknown(body, {"retriever", "weight", "normalizer"}, where)
    leg = _parse(body["retriever"], f"{where}.retriever", filters, depth + 1)
    return Weighted(leg, _weight(body, where), _normalizer(body, where) or default)


def _rescorer(body: dict[str, Any], where: str, filters: Filters, depth: int) -> Leg:
    _refuse_unknown(body, {"retriever", "rescore", *_COMMON}, where)
    leg = _parse(body.get("retriever"), f"{where}.retriever", filters, depth + 1)
    given = body.get("rescore")
    clauses = given if isinstance(given, list) else [given]
    if not clauses:
        raise MalformedRequest(f"[{where}.rescore] must not be empty")
    rescorers = tuple(_query_rescorer(clause, f"{where}.rescore") for clause in clauses)
    window = max(rescorer.window or 10 for rescorer in rescorers)
    if isinstance(leg, Fusion | FieldsLeg) and window > leg.window:
        raise InvalidRequest(
            f"[{where}.rescore.window_size] is {window}, more than the [rank_window_size] {leg.window} of what it rescores"
        )
    return RescorerLeg(leg, rescorers, window, number(body, "min_score", where=where), body.get("_name", "rescorer"))


def _query_rescorer(body: Any, where: str) -> Rescorer:
    if not isinstance(body, dict) or not isinstance(body.get("query"), dict):
        raise InvalidRequest(
            f"[{where}] needs a [query] with a [rescore_query]; other rescorers cannot follow a fusion"
        )
    _refuse_unknown(body, {"query", "window_size"}, where)
    inside = body["query"]
    _refuse_unknown(inside, {"rescore_query", "query_weight", "rescore_query_weight", "score_mode"}, f"{where}.query")
    if not isinstance(inside.get("rescore_query"), dict):
        raise MalformedRequest(f"[{where}.query.rescore_query] must be a query")
    return Rescorer(
        query=inside["rescore_query"],
        window=integer(body, "window_size", None, low=1, high=MAX_WINDOW, where=where),
        original_weight=_or(number(inside, "query_weight", where=where), 1.0),
        rescore_weight=_or(number(inside, "rescore_query_weight", where=where), 1.0),
        mode=choice(inside, "score_mode", _SCORE_MODES, f"{where}.query") or "total",
    )


def _text_similarity_reranker(body: dict[str, Any], where: str, filters: Filters, depth: int) -> Leg:
    _refuse_unknown(body, {"retriever", "field", "inference_text", "inference_id", "rank_window_size", *_COMMON}, where)
    return RerankLeg(
        _parse(body.get("retriever"), f"{where}.retriever", filters, depth + 1),
        _text(body, "inference_text", where), _text(body, "field", where), _window(body, where), body.get("inference_id"),
        number(body, "min_score", where=where), body.get("_name", "text_similarity_reranker"),
    )  # fmt: skip


def _pinned(body: dict[str, Any], where: str, filters: Filters, depth: int) -> Leg:
    _refuse_unknown(body, {"retriever", "ids", "docs", "rank_window_size", *_COMMON}, where)
    if "ids" in body and "docs" in body:
        raise MalformedRequest("Both 'ids' and 'docs' cannot be specified at the same time")
    if not body.get("ids") and not body.get("docs"):
        raise MalformedRequest("Either 'ids' or 'docs' must be provided and non-empty for pinned retriever")
    given = body.get("ids", body.get("docs"))
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_PINNED:
        raise InvalidRequest(f"[{where}] pins a list of 1 to {MAX_PINNED} documents")
    documents = []
    for entry in given:
        index, id_ = (entry.get("_index"), entry.get("_id")) if isinstance(entry, dict) else (None, entry)
        if not isinstance(id_, str) or not isinstance(index, str | None) or ("ids" in body) != isinstance(entry, str):
            raise MalformedRequest(f"[{where}]: [ids] are texts, [docs] are objects with [_id] and perhaps [_index]")
        if (index, id_) in documents:
            raise InvalidRequest(f"[pinned] duplicate document [{id_}] found in [{'ids' if 'ids' in body else 'docs'}]")
        documents.append((index, id_))
    leg = _parse(body.get("retriever"), f"{where}.retriever", filters, depth + 1)
    return PinnedLeg(
        leg, tuple(documents), _window(body, where), filters, number(body, "min_score", where=where), body.get("_name", "pinned")
    )  # fmt: skip


def _diversify(body: dict[str, Any], where: str, filters: Filters, depth: int) -> Leg:
    known = {"retriever", "type", "field", "lambda", "size", "rank_window_size", "query_vector", "query_vector_builder"}
    _refuse_unknown(body, known | _COMMON, where)
    if "type" not in body:
        raise InvalidRequest("Required [type]")
    choice(body, "type", ("mmr",), where)
    if "lambda" not in body:
        raise FailedValidation(
            "[diversify] MMR result diversification must have a [lambda] between 0.0 and 1.0. The value provided was null"
        )
    window = _window(body, where)
    if "query_vector" in body and "query_vector_builder" in body:
        raise InvalidRequest(f"[{where}] takes either [query_vector] or [query_vector_builder]")
    return DiversifyLeg(
        leg=_parse(body.get("retriever"), f"{where}.retriever", filters, depth + 1),
        vector_field=_text(body, "field", where),
        window=window,
        size=integer(body, "size", min(10, window), low=1, high=window, where=where),
        relevance=_or(number(body, "lambda", where=where, low=0, high=1), 0.7),
        query={key: body[key] for key in ("query_vector", "query_vector_builder") if key in body},
        min_score=number(body, "min_score", where=where),
        name=body.get("_name", "diversify"),
    )


_PARSERS = {
    "standard": _standard,
    "knn": _knn,
    "rrf": _rrf,
    "linear": _linear,
    "rescorer": _rescorer,
    "text_similarity_reranker": _text_similarity_reranker,
    "pinned": _pinned,
    "diversify": _diversify,
}


def _refuse_unknown(body: dict[str, Any], known: set[str] | frozenset[str], where: str) -> None:
    for key in body:
        if key not in known:
            raise UnreadableField(
                f"[{where.rpartition('.')[2]}] unknown field [{key}]; it accepts {', '.join(sorted(known))}"
            )


def _weight(body: dict[str, Any], where: str) -> float:
    weight = number(body, "weight", where=where, default=1.0) or 0.0
    if weight < 0:
        raise InvalidRequest("[weight] must be non-negative")
    return weight


def _normalizer(body: dict[str, Any], where: str) -> str | None:
    name = body.get("normalizer")
    if "normalizer" in body and name not in NORMALIZERS:
        cause = InvalidRequest(f"Unknown normalizer [{name}]")
        raise UnreadableField(f"[{where}] failed to parse field [normalizer]", cause)
    return name


def _window(body: dict[str, Any], where: str) -> int:
    return integer(body, "rank_window_size", None, low=1, high=MAX_WINDOW, where=where) or 10


def _legs(body: dict[str, Any], where: str) -> list[Any]:
    legs = body.get("retrievers")
    if legs in (None, []):
        raise FailedValidation(f"[{where.rpartition('.')[2]}] must provide [retrievers] or [query]")
    if not isinstance(legs, list):
        raise MalformedRequest(f"[{where}.retrievers] must be a list of retrievers")
    if len(legs) > MAX_LEGS:
        raise InvalidRequest(f"[{where}.retrievers] has {len(legs)} legs; at most {MAX_LEGS} are allowed")
    return legs


def _query_and_fields(body: dict[str, Any], where: str) -> tuple[str, tuple[str, ...] | None]:
    kind = where.rpartition(".")[2]
    if "query" not in body:
        raise FailedValidation(f"[{kind}] [query] must be provided when [fields] is specified")
    if body["query"] == "":
        raise FailedValidation(f"[{kind}] [query] cannot be empty")
    if body.get("fields") == []:
        raise FailedValidation(f"[{kind}] [fields] cannot be empty")
    if body.get("retrievers"):
        raise FailedValidation(f"[{kind}] cannot combine [retrievers] and [query]")
    fields = body.get("fields")
    if fields is not None and not (
        isinstance(fields, list) and fields and all(isinstance(name, str) for name in fields)
    ):
        raise MalformedRequest(f"[{where}.fields] must be a list of field names, with boosts as in [title^2]")
    return _text(body, "query", where), tuple(fields) if fields else None


def _text(body: dict[str, Any], key: str, where: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest(f"[{where}.{key}] must be a text")
    return value


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
