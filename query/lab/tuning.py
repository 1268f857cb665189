"""Finds the settings of the blend that suit an index: a cross-validated grid search, compared with the present settings.

candidates of every field boost -> each fold: the best settings on the rest -> their gain on the fold -> significant? -> advice
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from esblend.errors import InvalidRequest
from query.fusion.blend import CALIBRATED
from query.lab.blend_arrays import Blend, to_arrays
from query.lab.candidates import Candidates
from query.lab.judgements import Judged
from query.lab.measures import MAIN, Difference, Interval, compare, mean_of

Fields = tuple[str, ...]
"""The fields of the lexical leg, with boosts."""
ALPHAS = (*(round(step * 0.1, 1) for step in range(11)), 0.65)
NORMALIZERS = (CALIBRATED, "minmax", "z_score", "dbsf")
WINDOWS = (50, 100)
RANK_CONSTANTS = (10, 20, 60)

RECOMMENDED_LEVEL = 0.01
"""Stricter than elsewhere: the folds share most of their training queries, so their gains are less independent than the test takes
them to be (Nadeau and Bengio, Machine Learning 2003)."""


@dataclass(frozen=True)
class Settings:
    """One point of the grid."""

    fields: Fields
    blend: Blend


@dataclass(frozen=True)
class Advice:
    """The result of tuning. `held_back`: the gain on queries that had no part in the choice."""

    settings: Settings
    before: Interval
    held_back: Difference
    queries: int

    @property
    def is_recommended(self) -> bool:
        return self.held_back.gain.mean > 0 and self.held_back.p_value < RECOMMENDED_LEVEL


def grid(fields: Sequence[Fields]) -> Iterator[Settings]:
    """Every combination to try."""
    for names in fields:
        for window in WINDOWS:
            for alpha in ALPHAS:
                for normalizer in NORMALIZERS:
                    yield Settings(names, Blend(alpha, "linear", normalizer, window))
            for constant in RANK_CONSTANTS:
                for alpha in (0.3, 0.5, 0.7):
                    yield Settings(names, Blend(alpha, "rrf", CALIBRATED, window, constant))


def field_choices(fields: Sequence[str]) -> list[Fields]:
    """The fields without boosts, and with a boost of 2 and 3 for the first one (the title)."""
    plain = tuple(field.partition("^")[0] for field in fields)
    if len(plain) < 2:
        return [plain]
    return [plain, *((f"{plain[0]}^{boost}", *plain[1:]) for boost in (2, 3))]


def tune(
    candidates: Mapping[Fields, Mapping[str, Candidates]],
    judged: Judged,
    present: Settings,
    *,
    similarity: str = "dot_product",
    folds: int = 5,
    seed: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> Advice:
    """The best settings on all queries, and the gain of this choice on queries held back.

    `candidates`: for each choice of fields, by query. `present`: the settings in use now. `similarity`: of the vectors.
    """
    values: dict[Settings, dict[str, float]] = {}
    arrays = {fields: to_arrays(by_query, judged, similarity) for fields, by_query in candidates.items()}
    for settings in [present, *grid(list(candidates))]:
        if settings not in values:
            values[settings] = arrays[settings.fields].ndcg(settings.blend)
        advance(1)
    ids = sorted(judged.queries)
    random.Random(seed).shuffle(ids)
    tuned: dict[str, float] = {}
    for fold in range(folds):
        held_back = set(ids[fold::folds])
        chosen = best(values, [id_ for id_ in ids if id_ not in held_back], present)
        tuned |= {id_: values[chosen][id_] for id_ in held_back}
    now = {id_: values[present][id_] for id_ in ids}
    difference = compare({"now": now, "tuned": {id_: tuned[id_] for id_ in ids}}, "now")["tuned"]
    return Advice(best(values, ids, present), mean_of(now), difference, len(ids))


def best(values: Mapping[Settings, Mapping[str, float]], ids: Sequence[str], present: Settings) -> Settings:
    """The settings with the highest mean; among equals those in use, else the first of the grid."""
    means = {settings: sum(by_query[id_] for id_ in ids) for settings, by_query in values.items()}
    top = max(means.values())
    if means[present] >= top - 1e-9:
        return present
    return next(settings for settings, mean in means.items() if mean >= top - 1e-9)


def present_settings(defaults: Mapping[str, Any], source_fields: Sequence[str]) -> Settings:
    """The settings that `hybrid` uses now, by the attachment's defaults.

    Raises InvalidRequest when they cannot be compared with the grid: weights of separate fields, or a fusion of a plug-in.
    """
    fusion = defaults.get("fusion") or "linear"
    if fusion not in ("linear", "rrf"):
        raise InvalidRequest(f"the defaults have [fusion: {fusion}]; tune compares with linear and rrf only")
    alpha = defaults.get("alpha")
    weights = defaults.get("weights")
    if weights is not None:
        if not weights.keys() <= {"lexical", "semantic"}:
            raise InvalidRequest("the defaults have [weights] of separate fields, which tune cannot compare with")
        lexical, semantic = weights.get("lexical", 1.0), weights.get("semantic", 1.0)
        alpha = semantic / (lexical + semantic)
    blend = Blend(
        Blend().alpha if alpha is None else alpha,
        fusion,
        defaults.get("normalizer") or CALIBRATED,
        defaults.get("rank_window_size") or Blend().window,
        defaults.get("rank_constant") or Blend().rank_constant,
    )
    return Settings(tuple(defaults.get("fields") or source_fields), blend)


def as_defaults(settings: Settings) -> dict[str, Any]:
    """The settings in the form of the attachment's `defaults`."""
    return {"fields": list(settings.fields), **settings.blend.options()}


def describe(advice: Advice) -> dict[str, Any]:
    """The advice as a JSON object."""
    gain = advice.held_back.gain
    return {
        "queries": advice.queries,
        MAIN: {"now": round(advice.before.mean, 4), "held_back_gain": round(gain.mean, 4)},
        "interval": [round(gain.low, 4), round(gain.high, 4)],
        "p_value": advice.held_back.p_value,
        "level": RECOMMENDED_LEVEL,
        "recommended": advice.is_recommended,
        "settings": as_defaults(advice.settings),
    }
