"""Parses the retrievers that change the order or the scores of another one: `rescorer`, `pinned`, `diversify`, ..."""

from collections.abc import Callable
from typing import Any

from esblend.errors import FailedValidation, InvalidRequest, MalformedRequest, UnreadableField
from query.language.checks import MAX_WINDOW, choice, integer, number
from query.language.retriever_checks import (
    RESCORE_KEYS,
    RESCORE_QUERY_KEYS,
    Filters,
    as_list,
    or_default,
    refuse_unknown,
    refuse_unknown_keys,
    text_of,
    window_of,
)
from query.language.tree import (
    DiversifyLeg,
    FieldsLeg,
    Fusion,
    Leg,
    PinnedLeg,
    RerankLeg,
    Rescorer,
    RescorerLeg,
    ServerLeg,
    StandardLeg,
    Wrapper,
)

MAX_PINNED = 100
_SCORE_MODES = ("total", "multiply", "avg", "max", "min")
Parse = Callable[[Any, str, Filters, int], Leg]
"""Parses any retriever: body, path, filters of the enclosing retrievers, depth."""
Body = dict[str, Any]


def rescorer(parse: Parse, body: Body, where: str, filters: Filters, depth: int) -> Leg:
    """Rescorers other than `query` are Elasticsearch's: they need the scores of a shard's own query."""
    refuse_unknown_keys(body, "rescorer", where)
    missing = [key for key in ("retriever", "rescore") if key not in body]
    if missing:
        raise MalformedRequest(f"Required [{', '.join(missing)}]")
    leg = parse(body["retriever"], f"{where}.retriever", filters, depth + 1)
    given = body["rescore"]
    clauses = given if isinstance(given, list) else [given]
    if not clauses:
        raise MalformedRequest("Missing rescore definition")
    windows = [
        integer(clause, "window_size", None, low=1, high=MAX_WINDOW, where=f"{where}.rescore") or 10
        for clause in clauses
        if isinstance(clause, dict)
    ]
    window = min(windows, default=10)
    min_score, name = number(body, "min_score", where=where), body.get("_name", "rescorer")
    kinds = {kind for clause in clauses if isinstance(clause, dict) for kind in clause} - {"window_size"}
    if kinds - {"query"} and not _is_fused(leg):
        return ServerLeg({}, leg, window, None, min_score, name)
    rescorers = tuple(_query_rescorer(clause, f"{where}.rescore") for clause in clauses)
    return RescorerLeg(leg, rescorers, window, min_score, name)


def _is_fused(leg: Leg) -> bool:
    """Whether esblend must execute a retriever, so that no rescorer of Elasticsearch can follow it."""
    return isinstance(leg, Fusion | FieldsLeg | Wrapper)


def _query_rescorer(body: Any, where: str) -> Rescorer:
    if not isinstance(body, dict) or not isinstance(body.get("query"), dict):
        kinds = [key for key in body if key != "window_size"] if isinstance(body, dict) else []
        named = f"[{kinds[0]}] " if kinds else ""
        raise InvalidRequest(
            f"[{where}] needs a [query] with a [rescore_query]; the rescorer {named}cannot follow a retriever that esblend "
            "executes"
        )
    refuse_unknown(body, RESCORE_KEYS, where)
    inside = body["query"]
    refuse_unknown(inside, RESCORE_QUERY_KEYS, f"{where}.query")
    if not isinstance(inside.get("rescore_query"), dict):
        raise MalformedRequest(f"[{where}.query.rescore_query] must be a query")
    return Rescorer(
        query=inside["rescore_query"],
        window=integer(body, "window_size", None, low=1, high=MAX_WINDOW, where=where),
        original_weight=or_default(number(inside, "query_weight", where=where), 1.0),
        rescore_weight=or_default(number(inside, "rescore_query_weight", where=where), 1.0),
        mode=choice(inside, "score_mode", _SCORE_MODES, f"{where}.query") or "total",
    )


def rule(parse: Parse, body: Body, where: str, filters: Filters, depth: int) -> Leg:
    """Query rules, which only Elasticsearch has."""
    refuse_unknown_keys(body, "rule", where)
    leg = parse(body.get("retriever"), f"{where}.retriever", filters, depth + 1)
    if _is_fused(leg):
        raise InvalidRequest(
            f"[{where}]: Elasticsearch executes [rule], so it cannot follow a retriever that esblend executes"
        )
    return ServerLeg(
        {}, leg, window_of(body, where), None, number(body, "min_score", where=where), body.get("_name", "rule")
    )


def text_similarity_reranker(parse: Parse, body: Body, where: str, filters: Filters, depth: int) -> Leg:
    if "chunk_rescorer" in body:
        raise InvalidRequest(
            f"[{where}.chunk_rescorer] is not available: the gateway's cross-encoder reads the whole text of [field]"
        )
    refuse_unknown_keys(body, "text_similarity_reranker", where)
    return RerankLeg(
        parse(body.get("retriever"), f"{where}.retriever", filters, depth + 1),
        text_of(body, "inference_text", where), text_of(body, "field", where), window_of(body, where),
        body.get("inference_id"), number(body, "min_score", where=where), body.get("_name", "text_similarity_reranker"),
    )  # fmt: skip


def pinned(parse: Parse, body: Body, where: str, filters: Filters, depth: int) -> Leg:
    refuse_unknown_keys(body, "pinned", where)
    if "ids" in body and "docs" in body:
        raise MalformedRequest("Both 'ids' and 'docs' cannot be specified at the same time")
    if not body.get("ids") and not body.get("docs"):
        raise MalformedRequest("Either 'ids' or 'docs' must be provided and non-empty for pinned retriever")
    given = as_list(body.get("ids", body.get("docs")))
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_PINNED:
        raise InvalidRequest(f"[{where}] pins a list of 1 to {MAX_PINNED} documents")
    documents: list[tuple[str | None, str]] = []
    for entry in given:
        index, id_ = (entry.get("_index"), entry.get("_id")) if isinstance(entry, dict) else (None, entry)
        if not isinstance(id_, str) or not isinstance(index, str | None) or ("ids" in body) != isinstance(entry, str):
            raise MalformedRequest(f"[{where}]: [ids] are texts, [docs] are objects with [_id] and perhaps [_index]")
        if (index, id_) in documents:
            raise InvalidRequest(f"[pinned] duplicate {'id' if 'ids' in body else 'doc'} found in list: {id_}")
        documents.append((index, id_))
    leg = parse(body.get("retriever"), f"{where}.retriever", filters, depth + 1)
    _check_pinned(leg, body["retriever"])
    return PinnedLeg(
        leg, tuple(documents), window_of(body, where), filters, number(body, "min_score", where=where), body.get("_name", "pinned")
    )  # fmt: skip


def _check_pinned(leg: Leg, given: Body) -> None:
    """Raises InvalidRequest where Elasticsearch has no query, or no score, to pin documents to."""
    if not isinstance(leg, StandardLeg):
        return
    if "query" not in given["standard"] and not leg.filters:
        raise InvalidRequest("Underlying query cannot be null for pinned retriever: [standard] needs a [query]")
    sort = leg.options.get("sort", [])
    for key in sort if isinstance(sort, list) else [sort]:
        name = key if isinstance(key, str) else next(iter(key), "") if isinstance(key, dict) else ""
        if name not in ("_score", "_shard_doc"):
            raise InvalidRequest(f"[pinned] retriever only supports sorting by score, invalid sort criterion: {key}")


def diversify(parse: Parse, body: Body, where: str, filters: Filters, depth: int) -> Leg:
    refuse_unknown_keys(body, "diversify", where)
    missing = [key for key in ("retriever", "type", "field") if key not in body]
    if missing:
        raise InvalidRequest(f"Required [{', '.join(missing)}]")
    if body["type"] != "mmr":
        cause = InvalidRequest(f"unknown result diversification type [{body['type']}]")
        raise UnreadableField("Failed to build [diversify] after last required field arrived", cause)
    window, relevance = window_of(body, where), number(body, "lambda", where=where)
    mmr = "[diversify] MMR result diversification"
    if relevance is None or not 0 <= relevance <= 1:
        shown = "null" if relevance is None else relevance
        raise FailedValidation(f"{mmr} must have a [lambda] between 0.0 and 1.0. The value provided was {shown}")
    size = integer(body, "size", min(10, window), low=-(2**31), high=2**31 - 1, where=where)
    if size < 1:
        raise FailedValidation(f"{mmr} [size] of {size} must be greater than zero")
    if size > window:
        raise FailedValidation(f"{mmr} [size] of {size} cannot be greater than the [rank_window_size] of {window}")
    if "query_vector" in body and "query_vector_builder" in body:
        raise FailedValidation(f"{mmr} can have one of [query_vector] or [query_vector_builder], but not both")
    return DiversifyLeg(
        leg=parse(body["retriever"], f"{where}.retriever", filters, depth + 1),
        vector_field=text_of(body, "field", where),
        window=window,
        size=size,
        relevance=relevance,
        query={key: body[key] for key in ("query_vector", "query_vector_builder") if key in body},
        min_score=number(body, "min_score", where=where),
        name=body.get("_name", "diversify"),
    )
