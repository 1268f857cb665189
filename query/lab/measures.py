"""Measures runs against judgements with ir-measures, and tests differences for significance with SciPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np
from ir_measures import AP, RR, R, nDCG
from numpy.typing import NDArray

from query.lab.batch_searches import Run
from query.lab.judgements import Judged

MEASURES = {"nDCG@10": nDCG @ 10, "MRR@10": RR @ 10, "recall@10": R @ 10, "recall@100": R @ 100, "MAP": AP}
MAIN = "nDCG@10"
LEVEL = 0.05
"""A difference with a corrected p-value below this is significant."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A system against another, query by query: the mean gain and the corrected p-value of a paired t-test."""

    gain: Interval
    p_value: float
    wins: int
    losses: int

    @property
    def is_significant(self) -> bool:
        return self.p_value < LEVEL


def per_query(run: Run, judged: Judged, measures: Sequence[str] = tuple(MEASURES)) -> dict[str, dict[str, float]]:
    """Value of each measure for each query; a query without hits has 0."""
    wanted = [MEASURES[name] for name in measures]
    names = {str(measure): name for name, measure in MEASURES.items()}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judged.queries, 0.0) for name in measures}
    # A negative grade (an annotator's "not at all") gains nothing; ir-measures would subtract it.
    grades = {
        id_: {document: max(0, grade) for document, grade in documents.items()}
        for id_, documents in judged.grades.items()
    }
    for value in ir_measures.iter_calc(wanted, grades, run):
        values[names[str(value.measure)]][value.query_id] = value.value
    return values


def mean_of(values: Mapping[str, float]) -> Interval:
    """Student's t interval."""
    numbers = np.array(list(values.values()))
    return _interval(numbers)


def compare(values: Mapping[str, Mapping[str, float]], baseline: str) -> dict[str, Difference]:
    """Each system of `values` (system -> query -> value) against the baseline. The p-values are corrected for their number by
    Benjamini and Hochberg (1995)."""
    base = np.array(list(values[baseline].values()))
    gains = {
        name: np.array([by_query[id_] for id_ in values[baseline]]) - base
        for name, by_query in values.items()
        if name != baseline
    }
    from scipy import stats  # here, since it takes a second to import

    raw = [_p_value(gain) for gain in gains.values()]
    corrected = stats.false_discovery_control(raw) if raw else []
    return {
        name: Difference(_interval(gain), float(p), int((gain > 0).sum()), int((gain < 0).sum()))
        for (name, gain), p in zip(gains.items(), corrected, strict=True)
    }


def _p_value(gain: NDArray[np.float64]) -> float:
    if len(gain) < 2 or not np.any(gain):
        return 1.0
    if np.ptp(gain) == 0:
        return 0.0
    from scipy import stats

    return float(stats.ttest_1samp(gain, 0.0).pvalue)


def _interval(numbers: NDArray[np.float64]) -> Interval:
    mean = float(numbers.mean()) if len(numbers) else 0.0
    if len(numbers) < 2 or np.ptp(numbers) == 0:
        return Interval(mean, mean, mean)
    from scipy import stats

    low, high = stats.t.interval(0.95, len(numbers) - 1, loc=mean, scale=stats.sem(numbers))
    return Interval(mean, float(low), float(high))
