"""Translates OpenSearch's `hybrid` and `neural` clauses, so that requests written for OpenSearch work unchanged.

hybrid.queries + a normalization or score ranker processor -> linear or rrf, one leg per query
neural, knn with a vector                                  -> Elasticsearch's kNN
"""

from typing import Any

from esblend.blend_vocabulary import COMBINATIONS
from esblend.errors import InvalidRequest, MalformedRequest
from query.language.checks import choice, filters_of, inner_object, integer, number, objects_of, refuse_unknown
from query.language.tree import KnnLeg, Leg, LinearLeg, RrfLeg, StandardLeg, Weighted

MAX_QUERIES = 5
"""OpenSearch's own limit."""
_TECHNIQUES = {"min_max": "opensearch_min_max", "l2": "l2_norm", "z_score": "opensearch_z_score"}
_MEANS = tuple(name for name in COMBINATIONS if name != "sum")
_DEFAULT_DEPTH = 10


def parse_hybrid(body: dict[str, Any], pipeline: Any, *, wanted: int) -> Leg:
    """A fusion with OpenSearch's formulas: `min_max` and `arithmetic_mean` with equal weights by default.

    Raises InvalidRequest or MalformedRequest naming the field at fault.
    """
    refuse_unknown(body, {"queries", "filter", "pagination_depth", "boost", "_name"}, "hybrid")
    queries = body["queries"]
    if not isinstance(queries, list) or not 1 <= len(queries) <= MAX_QUERIES:
        raise InvalidRequest(f"[hybrid.queries] must be a list of 1 to {MAX_QUERIES} queries")
    filters = filters_of(body, "hybrid")
    depth = integer(body, "pagination_depth", max(wanted, _DEFAULT_DEPTH), low=1, high=10_000, where="hybrid")
    legs = [_leg(query, filters, max(depth, wanted), f"hybrid.queries[{n}]") for n, query in enumerate(queries)]
    processor, settings = _processor(pipeline)
    combination = inner_object(settings, "combination", processor, {})
    weights = _weights(combination, len(legs))
    if processor == "score-ranker-processor":
        choice(combination, "technique", ("rrf",), f"{processor}.combination")
        constant = integer(combination, "rank_constant", 60, low=1, high=10_000, where=f"{processor}.combination")
        return RrfLeg(tuple(map(Weighted, legs, weights)), max(depth, wanted), constant, name="hybrid")
    normalization = inner_object(settings, "normalization", processor, {})
    technique = choice(normalization, "technique", tuple(_TECHNIQUES), f"{processor}.normalization") or "min_max"
    mean = choice(combination, "technique", _MEANS, f"{processor}.combination") or "arithmetic_mean"
    weighted = tuple(Weighted(leg, weight, _TECHNIQUES[technique]) for leg, weight in zip(legs, weights, strict=True))
    return LinearLeg(weighted, max(depth, wanted), name="hybrid", combination=mean)


def _leg(query: Any, filters: tuple[dict[str, Any], ...], depth: int, where: str) -> Leg:
    if not isinstance(query, dict) or len(query) != 1:
        raise MalformedRequest(f"[{where}] must be a query")
    _translate_leg(query)
    if set(query) == {"knn"}:
        section = {key: value for key, value in query["knn"].items() if key not in ("filter", "boost", "_name")}
        own = filters_of(query["knn"], where)
        section["k"] = integer(section, "k", depth, low=1, high=10_000, where=where)
        return KnnLeg(section, (*filters, *own), name="neural")
    return StandardLeg(query, filters, name=next(iter(query)))


def _processor(pipeline: Any) -> tuple[str, dict[str, Any]]:
    """The only processor of the request's pipeline, and its settings."""
    if pipeline is None:
        return "normalization-processor", {}
    if not isinstance(pipeline, dict):
        raise InvalidRequest("[search_pipeline] must be an object in the request; named pipelines are not supported")
    listed = pipeline.get("phase_results_processors")
    processors = (
        [processor_body for processor_body in listed if isinstance(processor_body, dict)]
        if isinstance(listed, list)
        else []
    )
    for processor_body in processors:
        for name in ("normalization-processor", "score-ranker-processor"):
            if isinstance(processor_body.get(name), dict):
                return name, processor_body[name]
    raise InvalidRequest(
        "[search_pipeline.phase_results_processors] must contain a [normalization-processor] or a [score-ranker-processor]"
    )


def _weights(combination: dict[str, Any], count: int) -> list[float]:
    given = inner_object(combination, "parameters", "combination", {}).get("weights")
    if given is None:
        return [1.0 / count] * count
    if not isinstance(given, list) or len(given) != count:
        raise InvalidRequest(f"[combination.parameters.weights] must be a list of {count} numbers, one for each query")
    return [number({"weight": one}, "weight", where="combination.parameters", low=0, high=1) or 0.0 for one in given]


def translate_neural(body: dict[str, Any]) -> None:
    """Turn `neural` clauses into `semantic` ones, in place, except the legs of a `hybrid`."""
    query = body.get("query")
    hybrid = query.get("hybrid") if isinstance(query, dict) else None
    queries = hybrid.get("queries") if isinstance(hybrid, dict) else None
    legs = {id(leg) for leg in queries} if isinstance(queries, list) else set()
    for clause in list(objects_of(body)):
        field = _field_of(clause, "neural", "query_text") if len(clause) == 1 and id(clause) not in legs else None
        if field is None:
            continue
        inside = clause.pop("neural")[field]
        refuse_unknown(inside, {"query_text", "k", "filter", "model_id", "boost", "_name"}, f"neural.{field}")
        more = {key: inside[key] for key in ("boost", "_name") if key in inside}
        semantic = {"semantic": {"query": inside["query_text"], "field": field, **more}}
        filters = filters_of(inside, f"neural.{field}")
        clause.update({"bool": {"must": [semantic], "filter": list(filters)}} if filters else semantic)


def _translate_leg(clause: dict[str, Any]) -> None:
    """Turn a `neural` or `knn` leg into Elasticsearch's `knn` section, in place; its text is embedded later. Other legs stay
    unchanged."""
    for kind, key in (("neural", "query_text"), ("knn", "vector")):
        field = _field_of(clause, kind, key)
        if field is None:
            continue
        inside = clause[kind][field]
        where = f"{kind}.{field}"
        refuse_unknown(inside, {key, "k", "filter", "model_id", "boost", "_name"}, where)
        k = integer(inside, "k", _DEFAULT_DEPTH, low=1, high=10_000, where=where)
        query = (
            {"query_vector": inside[key]}
            if kind == "knn"
            else {"query_vector_builder": {"text_embedding": {"model_text": inside[key]}}}
        )
        more = {name: inside[name] for name in ("filter", "boost", "_name") if name in inside}
        del clause[kind]
        clause["knn"] = {"field": field, "k": k, "num_candidates": max(100, k), **query, **more}


def _field_of(clause: dict[str, Any], kind: str, key: str) -> str | None:
    inside = clause.get(kind)
    if isinstance(inside, dict) and len(inside) == 1:
        [(field, settings)] = inside.items()
        if isinstance(settings, dict) and key in settings:
            return str(field)
    return None
