"""An evaluation made of numbers, for tests of what shows it."""

from dataclasses import replace

from query.lab.evaluation import Evaluation, Measured
from query.lab.judgements import Judged
from query.lab.measures import MAIN, MEASURES, Interval, compare, mean_of
from query.lab.systems import BASELINE, BLEND

HOSTILE = "</script><script>document.title='broken'</script><b>hostile</b>"


def evaluation(base: list[float], blend: list[float], *, queries: list[str] | None = None) -> Evaluation:
    """BM25 and the blend with the given nDCG@10 for each query. Each has three hits, of which two are judged."""
    texts = queries or [f"question {number}" for number in range(len(base))]
    ids = [f"q{number}" for number in range(len(base))]
    grades = {id_: {f"{id_}-right": 2, f"{id_}-wrong": 0} for id_ in ids}
    judged = Judged("numbers", dict(zip(ids, texts, strict=True)), grades)

    def measured(values: list[float], order: tuple[str, ...]) -> Measured:
        by_query = dict(zip(ids, values, strict=True))
        run = {id_: {f"{id_}-{kind}": 3.0 - rank for rank, kind in enumerate(order)} for id_ in ids}
        every = dict.fromkeys(MEASURES, by_query)
        return Measured(run, every, {measure: mean_of(by_query) for measure in MEASURES}, (12.34, 234.56), 1 / 3)

    systems = {
        BASELINE: measured(base, ("wrong", "other", "right")),
        "kNN": measured(blend[::-1], ("other", "right", "wrong")),
        BLEND: measured(blend, ("right", "wrong", "other")),
    }
    differences = compare({name: system.values[MAIN] for name, system in systems.items()}, BASELINE)
    curve = {step / 10: Interval(0.4 + step / 100, 0.35 + step / 100, 0.45 + step / 100) for step in range(11)}
    return Evaluation("articles", judged, systems, differences, curve, 12.0)


def weak(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, judged=replace(evaluation.judged, is_weak=True))
