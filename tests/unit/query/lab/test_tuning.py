"""Tuning finds what helps, refuses what may be chance, and blends as the gateway does."""

import random
from typing import Any

import pytest

from esblend.errors import InvalidRequest
from query.fusion.ranked_lists import Key
from query.lab.blend_arrays import Blend
from query.lab.candidates import Candidates
from query.lab.judgements import Judged
from query.lab.tuning import Settings, as_defaults, field_choices, present_settings, tune

FIELDS = ("title", "body")


def collection(queries: int, *, semantic_is_right: bool) -> tuple[dict[str, Candidates], Judged]:
    """Queries whose right answer one of the legs puts first; with `semantic_is_right` False neither does, but by chance."""
    draw = random.Random(7)
    candidates, grades = {}, {}
    for n in range(queries):
        keys = [Key("i", f"{n}-{m}") for m in range(20)]
        lexical = {key: draw.random() * 10 for key in keys}
        semantic = {key: draw.random() * 0.5 for key in keys}
        right = draw.choice(keys)
        if semantic_is_right:
            semantic[right] = 0.9
        first, second = (dict(sorted(scores.items(), key=lambda item: -item[1])) for scores in (lexical, semantic))
        candidates[str(n)] = Candidates(first, second, second)
        grades[str(n)] = {right.id: 1}
    return candidates, Judged("j", {id_: id_ for id_ in grades}, grades)


def test_a_better_weight_is_found_and_recommended() -> None:
    candidates, judged = collection(60, semantic_is_right=True)
    advice = tune({FIELDS: candidates}, judged, Settings(FIELDS, Blend(alpha=0.1)))
    assert advice.is_recommended
    assert advice.settings.blend.alpha > 0.5
    assert as_defaults(advice.settings)["fields"] == ["title", "body"]


def test_chance_is_not_recommended() -> None:
    candidates, judged = collection(60, semantic_is_right=False)
    advice = tune({FIELDS: candidates}, judged, Settings(FIELDS, Blend()))
    assert not advice.is_recommended


def test_what_is_in_use_stays_when_nothing_is_better() -> None:
    candidates, judged = collection(30, semantic_is_right=True)
    present = Settings(FIELDS, Blend(alpha=1.0))
    assert tune({FIELDS: candidates}, judged, present).settings == present


def test_fields_are_tried_with_heavier_titles() -> None:
    assert field_choices(["title^5", "body"]) == [("title", "body"), ("title^2", "body"), ("title^3", "body")]
    assert field_choices(["body"]) == [("body",)]


def test_the_present_settings_come_from_all_defaults() -> None:
    defaults: dict[str, Any] = {
        "weights": {"lexical": 1, "semantic": 3},
        "fusion": "rrf",
        "rank_constant": 20,
        "rank_window_size": 30,
    }
    assert present_settings(defaults, FIELDS) == Settings(FIELDS, Blend(0.75, "rrf", "calibrated", 30, 20))
    assert present_settings({}, FIELDS) == Settings(FIELDS, Blend())
    assert present_settings({"normalizer": "minmax", "alpha": 0}, FIELDS).blend == Blend(0, "linear", "minmax")
    for defaults in ({"weights": {"title": 1}}, {"fusion": "longest"}):
        with pytest.raises(InvalidRequest):
            present_settings(defaults, FIELDS)
