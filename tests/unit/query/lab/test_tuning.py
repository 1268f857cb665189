"""Tuning finds what helps, refuses what may be chance, and blends as the gateway does."""

import random

from query.fusion.ranked_lists import Key
from query.lab.candidates import Blend, Candidates, blended
from query.lab.judged import Judged
from query.lab.tuning import Settings, as_defaults, field_choices, tune
from query.run.hybrid import Blending, blend

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
        candidates[str(n)] = Candidates(
            *(dict(sorted(one.items(), key=lambda item: -item[1])) for one in (lexical, semantic))
        )
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


def test_a_blend_here_is_the_gateways() -> None:
    [found] = collection(1, semantic_is_right=True)[0].values()
    run = blended({"0": found}, Blend(alpha=0.6, normalizer="minmax"))["0"]
    fused = blend(
        {"lexical": found.lexical, "semantic": found.semantic},
        {"lexical": 0.4, "semantic": 0.6},
        Blending(normalizer="minmax"),
    )
    assert sorted(run, key=lambda id_: -run[id_]) == [one.key.id for one in fused]


def test_fields_are_tried_with_heavier_titles() -> None:
    assert field_choices(["title^5", "body"]) == [("title", "body"), ("title^2", "body"), ("title^3", "body")]
    assert field_choices(["body"]) == [("body",)]
