"""Evaluates systems side by side: their runs, measures with intervals, significance, latency, and who wins which query."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

from query.lab.batch_searches import Run, latencies, run_system
from query.lab.blend_arrays import Blend, to_arrays
from query.lab.candidates import fetch_candidates
from query.lab.judgements import Judged
from query.lab.measures import MAIN, MEASURES, Difference, Interval, compare, mean_of, per_query
from query.lab.systems import BASELINE, DEPTH, System

LATENCY_QUERIES = 20
CURVE_ALPHAS = tuple(round(step / 10, 1) for step in range(11))


@dataclass(frozen=True)
class Measured:
    """One system's figures. `latency`: (p50, p95) in milliseconds."""

    run: Run
    values: Mapping[str, Mapping[str, float]]
    """Measure -> query -> value."""
    means: Mapping[str, Interval]
    latency: tuple[float, float]
    unjudged: float
    """Share of the first ten hits that have no judgement. They count as not relevant, which is unfair to a system that finds
    unjudged documents."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that a report shows. `differences`: each system against the baseline, by the main measure."""

    index: str
    judged: Judged
    systems: Mapping[str, Measured]
    differences: Mapping[str, Difference]
    curve: Mapping[float, Interval]
    """The main measure of the exact linear blend by alpha."""
    seconds: float
    baseline: str = BASELINE


def evaluate(
    es: Elasticsearch,
    index: str,
    judged: Judged,
    systems: Sequence[System],
    *,
    shared_options: Mapping[str, Any] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Run all systems over the queries. `shared_options`: options of `hybrid` that all systems, and the curve, have in common."""
    began = time.monotonic()
    runs = {system.name: run_system(es, index, system, judged, advance) for system in systems}
    timed = latencies(es, index, systems, list(judged.queries.values())[:LATENCY_QUERIES])
    measured = {}
    for name, run in runs.items():
        p50, p95 = np.percentile(timed[name], [50, 95])
        measured[name] = _measured(run, judged, (float(p50), float(p95)))
    candidates = fetch_candidates(es, index, judged, DEPTH, shared_options or {}, advance)
    arrays = to_arrays(candidates, judged)
    curve = {alpha: mean_of(arrays.ndcg(Blend(alpha))) for alpha in CURVE_ALPHAS}
    return Evaluation(index, judged, measured, _differences(measured), curve, time.monotonic() - began)


def unjudged_share(run: Run, judged: Judged) -> float:
    """The share of each query's first ten hits that have no judgement, over all hits; 0 without hits."""
    first = [(id_, document) for id_ in judged.queries for document in list(run.get(id_, {}))[:10]]
    unjudged = sum(document not in judged.grades[id_] for id_, document in first)
    return unjudged / len(first) if first else 0.0


def with_run(evaluation: Evaluation, name: str, run: Run) -> Evaluation:
    """The evaluation with the run of another search engine, whose latency is unknown (0)."""
    systems = {**evaluation.systems, name: _measured(run, evaluation.judged, (0.0, 0.0))}
    return replace(evaluation, systems=systems, differences=_differences(systems))


def _measured(run: Run, judged: Judged, latency: tuple[float, float]) -> Measured:
    values = per_query(run, judged)
    means = {measure: mean_of(values[measure]) for measure in MEASURES}
    return Measured(run, values, means, latency, unjudged_share(run, judged))


def _differences(systems: Mapping[str, Measured]) -> dict[str, Difference]:
    return compare({name: measured.values[MAIN] for name, measured in systems.items()}, BASELINE)


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "index": evaluation.index,
        "queries": evaluation.judged.name,
        "count": len(evaluation.judged.queries),
        "weak": evaluation.judged.is_weak,
        "baseline": evaluation.baseline,
        "seconds": round(evaluation.seconds, 1),
        "systems": {
            name: _system_json(measured, evaluation.differences.get(name))
            for name, measured in evaluation.systems.items()
        },
        "curve": {str(alpha): round(value.mean, 4) for alpha, value in evaluation.curve.items()},
    }


def _system_json(measured: Measured, difference: Difference | None) -> dict[str, Any]:
    main = measured.means[MAIN]
    shown: dict[str, Any] = {measure: round(value.mean, 4) for measure, value in measured.means.items()}
    shown |= {"interval": [round(main.low, 4), round(main.high, 4)]}
    shown |= {"judged@10": round(1 - measured.unjudged, 4)}
    shown |= {"p50_ms": round(measured.latency[0], 2), "p95_ms": round(measured.latency[1], 2)}
    if difference is not None:
        shown |= {"gain": round(difference.gain.mean, 4), "p_value": difference.p_value}
        shown |= {"significant": difference.is_significant, "wins": difference.wins, "losses": difference.losses}
    return shown
