"""The result as a sentence, and tables that fit the terminal."""

import re

import pytest
from rich.console import Console

from query.lab.evaluation_details import command_line
from query.lab.plots import curve, forest, ticks
from query.lab.summary import sentence, table
from tests.evaluations import evaluation

BETTER = evaluation([0.4, 0.5, 0.3, 0.6] * 5, [0.5, 0.6, 0.46, 0.6] * 5)


def test_the_sentence_names_who_won() -> None:
    assert sentence(BETTER) == "Blend (linear exact) beats BM25: +0.090 nDCG@10, p < 0.001, 15 queries better, 0 worse."
    worse = evaluation([0.5, 0.6, 0.46, 0.6] * 5, [0.4, 0.5, 0.3, 0.6] * 5)
    assert sentence(worse).startswith(
        "Blend (linear exact) is worse than BM25: -0.090 nDCG@10, p < 0.001, 0 queries better, 15 worse."
    )
    assert sentence(worse).endswith("BM25 scores highest: 0.540.")


def test_a_difference_by_chance_is_no_win() -> None:
    even = evaluation([0.4, 0.5, 0.3, 0.6], [0.5, 0.4, 0.3, 0.61])
    assert sentence(even).startswith(
        "No significant difference between Blend (linear exact) and BM25: +0.003 nDCG@10, p = "
    )
    assert "2 queries better, 1 worse" in sentence(even)


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_no_number_of_the_table_is_cut(columns: int) -> None:
    console = Console(width=columns, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(BETTER, console))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= columns
    assert "…" not in shown
    for number in ("0.4500", "0.5400", "+0.0900", "<", "67%", "12.3", "234.6"):
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", shown), number


def test_secrets_of_the_command_are_masked() -> None:
    shown = command_line(["--api-key", "abc", "--gateway", "http://me:word@host:1", "eval", "my index"])
    assert shown == "esblend --api-key '********' --gateway 'http://me:********@host:1' eval 'my index'"
    assert command_line(["--api-key=abc", "eval"]) == "esblend '--api-key=********' eval"


def test_the_forest_contains_zero() -> None:
    drawn = forest(BETTER.differences)
    [knn, blend] = drawn.rows
    assert 0 < drawn.zero < blend.low < blend.mean < blend.high < 100
    assert knn.name == "kNN"
    assert (drawn.zero, 0) in [(position, value) for position, value in drawn.ticks]


def test_the_curve_marks_the_present_alpha() -> None:
    drawn = curve(BETTER.curve, 0.5)
    assert drawn.present == drawn.marks[5][0]
    assert curve(BETTER.curve, None).present is None


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.01, 0.08), (0.3, 0.301), (-5, 500)])
def test_ticks_are_round_and_few(low: float, high: float) -> None:
    marks = ticks(low, high, 4)
    assert 1 <= len(marks) <= 4
    assert all(low <= value <= high for value in marks)
