"""Parses OpenSearch's `search_pipeline` in a request: how a `hybrid` is normalised and combined, and which filter precedes it."""

from dataclasses import dataclass
from typing import Any

from esblend.blend_vocabulary import COMBINATIONS
from esblend.errors import InvalidRequest, MalformedRequest
from query.language.checks import choice, inner_object, integer, number, refuse_unknown

_TECHNIQUES = {"min_max": "opensearch_min_max", "l2": "l2_norm", "z_score": "opensearch_z_score"}
_MEANS = tuple(name for name in COMBINATIONS if name != "sum")
_LABELS = frozenset(("tag", "description", "ignore_failure"))
PIPELINE_KEYS = frozenset(("description", "version", "request_processors", "phase_results_processors"))
FILTER_QUERY_KEYS = _LABELS | {"query"}
PROCESSOR_KEYS = {
    "normalization-processor": _LABELS | {"normalization", "combination"},
    "score-ranker-processor": _LABELS | {"combination"},
}
COMBINATION_KEYS = {
    "normalization-processor": frozenset(("technique", "parameters")),
    "score-ranker-processor": frozenset(("technique", "parameters", "rank_constant")),
}


@dataclass(frozen=True)
class Pipeline:
    """The settings of a pipeline, for a number of queries."""

    weights: list[float]
    normalizer: str = "opensearch_min_max"
    combination: str = "arithmetic_mean"
    rank_constant: int | None = None
    """The constant of a `score-ranker-processor`; None: scores are normalised and combined."""
    filters: tuple[dict[str, Any], ...] = ()
    """The queries of `filter_query` processors."""


def parse_pipeline(pipeline: Any, queries: int) -> Pipeline:
    """`queries`: how many queries the `hybrid` has. Raises InvalidRequest or MalformedRequest naming the key at fault."""
    if pipeline is None:
        return Pipeline(_weights({}, queries))
    if not isinstance(pipeline, dict):
        raise InvalidRequest("[search_pipeline] must be an object in the request; named pipelines are not supported")
    refuse_unknown(pipeline, set(PIPELINE_KEYS), "search_pipeline")
    filters = tuple(
        _filter_query(inside, name) for name, inside in _processors(pipeline, "request_processors", ("filter_query",))
    )
    known = tuple(PROCESSOR_KEYS)
    phases = _processors(pipeline, "phase_results_processors", known)
    if len(phases) != 1:
        raise InvalidRequest(
            f"[search_pipeline.phase_results_processors] has {len(phases)} processors; it needs one of {', '.join(known)}"
        )
    [(name, settings)] = phases
    refuse_unknown(settings, set(PROCESSOR_KEYS[name]), name)
    combination = inner_object(settings, "combination", name, {})
    refuse_unknown(combination, set(COMBINATION_KEYS[name]), f"{name}.combination")
    weights = _weights(combination, queries)
    if name == "score-ranker-processor":
        choice(combination, "technique", ("rrf",), f"{name}.combination")
        constant = integer(combination, "rank_constant", 60, low=1, high=10_000, where=f"{name}.combination")
        return Pipeline(weights, rank_constant=constant, filters=filters)
    normalization = inner_object(settings, "normalization", name, {})
    refuse_unknown(normalization, {"technique"}, f"{name}.normalization")
    technique = choice(normalization, "technique", tuple(_TECHNIQUES), f"{name}.normalization") or "min_max"
    mean = choice(combination, "technique", _MEANS, f"{name}.combination") or "arithmetic_mean"
    return Pipeline(weights, _TECHNIQUES[technique], mean, filters=filters)


def _processors(pipeline: dict[str, Any], phase: str, known: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    """The processors of a phase with their settings."""
    listed = pipeline.get(phase, [])
    if not isinstance(listed, list):
        raise MalformedRequest(f"[search_pipeline.{phase}] must be a list of processors")
    processors = []
    for number_, processor in enumerate(listed):
        where = f"search_pipeline.{phase}[{number_}]"
        if not isinstance(processor, dict) or len(processor) != 1:
            raise MalformedRequest(f"[{where}] must be an object with one processor")
        [(name, settings)] = processor.items()
        if name not in known:
            raise InvalidRequest(f"[{where}] is [{name}]; the gateway executes only {', '.join(known)}")
        if not isinstance(settings, dict):
            raise MalformedRequest(f"[{where}.{name}] must be an object")
        processors.append((name, settings))
    return processors


def _filter_query(settings: dict[str, Any], name: str) -> dict[str, Any]:
    refuse_unknown(settings, set(FILTER_QUERY_KEYS), name)
    if not isinstance(settings.get("query"), dict):
        raise MalformedRequest(f"[{name}] needs a [query]")
    query: dict[str, Any] = settings["query"]
    return query


def _weights(combination: dict[str, Any], count: int) -> list[float]:
    parameters = inner_object(combination, "parameters", "combination", {})
    refuse_unknown(parameters, {"weights"}, "combination.parameters")
    given = parameters.get("weights")
    if given is None:
        return [1.0 / count] * count
    if not isinstance(given, list) or len(given) != count:
        raise InvalidRequest(f"[combination.parameters.weights] must be a list of {count} numbers, one for each query")
    return [
        number({"weight": weight}, "weight", where="combination.parameters", low=0, high=1) or 0.0 for weight in given
    ]
