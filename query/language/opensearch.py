"""Translates OpenSearch's `hybrid` and `neural` clauses, so that requests written for OpenSearch work unchanged.

hybrid.queries + a normalization or score ranker processor -> linear or rrf, one leg per query
neural, knn with a vector                                  -> Elasticsearch's kNN
"""

from typing import Any

from esblend.errors import InvalidRequest, MalformedRequest
from query.language.checks import filters_of, integer, refuse_unknown
from query.language.clauses import ranked_clauses
from query.language.opensearch_pipeline import parse_pipeline
from query.language.tree import KnnLeg, Leg, LinearLeg, RrfLeg, StandardLeg, Weighted

MAX_QUERIES = 5
"""OpenSearch's own limit."""
_DEFAULT_DEPTH = 10
HYBRID_KEYS = frozenset(("queries", "filter", "pagination_depth"))
NEURAL_KEYS = frozenset(("query_text", "k", "filter", "min_score", "model_id", "boost", "_name"))
NEURAL_LEG_KEYS = NEURAL_KEYS - {"min_score"}
"""`model_id` has no effect: the model of the attachment embeds the text."""


def parse_hybrid(body: dict[str, Any], pipeline: Any, *, page_end: int) -> Leg:
    """A fusion with OpenSearch's formulas: `min_max` and `arithmetic_mean` with equal weights by default.

    Raises InvalidRequest or MalformedRequest naming the field at fault.
    """
    refuse_unknown(body, set(HYBRID_KEYS), "hybrid")
    queries = body["queries"]
    if not isinstance(queries, list) or not 1 <= len(queries) <= MAX_QUERIES:
        raise InvalidRequest(f"[hybrid.queries] must be a list of 1 to {MAX_QUERIES} queries")
    settings = parse_pipeline(pipeline, len(queries))
    filters = (*filters_of(body, "hybrid"), *settings.filters)
    depth = integer(body, "pagination_depth", max(page_end, _DEFAULT_DEPTH), low=1, high=10_000, where="hybrid")
    window = max(depth, page_end)
    legs = [_leg(query, filters, window, f"hybrid.queries[{n}]") for n, query in enumerate(queries)]
    if settings.rank_constant is not None:
        return RrfLeg(tuple(map(Weighted, legs, settings.weights)), window, settings.rank_constant, name="hybrid")
    weighted = tuple(
        Weighted(leg, weight, settings.normalizer) for leg, weight in zip(legs, settings.weights, strict=True)
    )
    return LinearLeg(weighted, window, name="hybrid", combination=settings.combination)


def _leg(query: Any, filters: tuple[dict[str, Any], ...], depth: int, where: str) -> Leg:
    if not isinstance(query, dict) or len(query) != 1:
        raise MalformedRequest(f"[{where}] must be a query")
    _translate_leg(query)
    if set(query) == {"knn"} and isinstance(query["knn"], dict):
        section = {key: value for key, value in query["knn"].items() if key not in ("filter", "_name")}
        if "boost" in section:
            raise InvalidRequest(
                f"[{where}.boost] has no effect on a normalised score; use [combination.parameters.weights]"
            )
        leg_filters = filters_of(query["knn"], where)
        section["k"] = integer(section, "k", depth, low=1, high=10_000, where=where)
        name = query["knn"].get("_name", "neural")
        return KnnLeg(section, (*filters, *leg_filters), name=str(name), is_named="_name" in query["knn"])
    return StandardLeg(query, filters, name=next(iter(query)))


def translate_neural(body: dict[str, Any]) -> None:
    """Turn `neural` clauses into `semantic` ones, in place, except the legs of a `hybrid`."""
    for clause in list(ranked_clauses(body)):
        field = _field_of(clause.holder, "neural", "query_text")
        if field is None or clause.is_leg:
            continue
        inside = clause.options[field]
        refuse_unknown(inside, set(NEURAL_KEYS), f"neural.{field}")
        options = {key: inside[key] for key in ("k", "filter", "min_score", "boost", "_name") if key in inside}
        clause.replace({"semantic": {"query": inside["query_text"], "field": field, **options}})


def _translate_leg(clause: dict[str, Any]) -> None:
    """Turn a `neural` or `knn` leg into Elasticsearch's `knn` section, in place; its text is embedded later. Other legs stay
    unchanged."""
    for kind, key in (("neural", "query_text"), ("knn", "vector")):
        field = _field_of(clause, kind, key)
        if field is None:
            continue
        inside = clause[kind][field]
        where = f"{kind}.{field}"
        refuse_unknown(inside, {key, *NEURAL_LEG_KEYS} - ({"query_text"} - {key}), where)
        k = integer(inside, "k", _DEFAULT_DEPTH, low=1, high=10_000, where=where)
        query = (
            {"query_vector": inside[key]}
            if kind == "knn"
            else {"query_vector_builder": {"text_embedding": {"model_text": inside[key]}}}
        )
        options = {name: inside[name] for name in ("filter", "boost", "_name") if name in inside}
        del clause[kind]
        clause["knn"] = {"field": field, "k": k, "num_candidates": max(100, k), **query, **options}


def _field_of(clause: dict[str, Any], kind: str, key: str) -> str | None:
    inside = clause.get(kind)
    if isinstance(inside, dict) and len(inside) == 1:
        [(field, settings)] = inside.items()
        if isinstance(settings, dict) and key in settings:
            return str(field)
    return None
