"""The cards of `esblend status`, on a terminal of 80 columns."""

import io
from typing import Any

import pytest
from rich.console import Console

from indexer.care.status_card import cards

G1 = {"model": "old/minilm", "dims": 384, "active": True, "missing": None}


def status(**fields: Any) -> dict[str, Any]:
    made = {
        "index": "articles", "documents": 4000, "embedded": 1000, "without_text": 0, "dead_letters": 0, "dropped": 0,
        "pending": 3000, "coverage": 0.25, "paused": None, "problems": [], "lag_seconds": 12.34,
        "documents_per_second": 250.0, "generations": {"g1": G1},
        "backfill": {"remaining": 3000, "seconds_left": 75.0, "paused": False, "documents_per_second": None},
    }  # fmt: skip
    return made | fields


def drawn(given: dict[str, Any], *, colours: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=colours, color_system="standard" if colours else None).print(
        cards([given])
    )
    return out.getvalue()


def test_a_card_has_a_bar_with_percent_speed_time_left_and_lag() -> None:
    name, bar, figures = drawn(status()).splitlines()
    assert name.split() == ["articles", "minilm"]
    assert bar == f"{'━' * 6:<24}  25.0 %  1,000 of 4,000 documents have vectors"
    assert figures == "lag 12.3 s  ·  3,000 pending  ·  250.0 documents/s  ·  backfill: 0:01:15 left"


@pytest.mark.parametrize(("letters", "text"), [(1, "1 dead letter"), (2000, "2,000 dead letters")])
def test_dead_letters_are_red(letters: int, text: str) -> None:
    shown = drawn(status(dead_letters=letters), colours=True)
    assert f"\x1b[1;31m{text}\x1b[0m" in shown


def test_a_migration_has_a_bar_of_its_own() -> None:
    g2 = {"model": "new/mpnet", "dims": 768, "active": False, "missing": 1000}
    assert drawn(status(generations={"g1": G1, "g2": g2})).splitlines()[-1] == (
        f"{'━' * 18:<24}  75.0 %  migration to g2 (mpnet): 3,000 of 4,000"
    )


def test_other_generations_say_what_they_are_for() -> None:
    old, new = {**G1, "active": False, "missing": 0}, {**G1, "model": "mpnet"}
    assert "also g1 (minilm), for a roll-back" in drawn(status(generations={"g1": old, "g2": new}))
    rolled_back = {"g1": G1, "g2": {**new, "active": False, "missing": 0}}
    assert "g2 (mpnet) has all vectors; searches use g1" in drawn(status(generations=rolled_back))
