"""Tables fit the terminal, and none of their numbers is cut."""

import io

import pytest
from rich.console import Console

from esblend.cli.console import counted, table


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_texts_wrap_and_figures_are_whole(columns: int) -> None:
    shown = table("index", "document", "attempts", "error", figures=("attempts",), title="dead letters")
    shown.add_row("an-index-with-a-long-name" * 3, "id" * 200, "1234567", "a word " * 30)
    out = io.StringIO()
    Console(file=out, width=columns, markup=False).print(shown)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    assert "1234567" in out.getvalue()
    assert "…" not in out.getvalue()
    assert sum(line.count("id") for line in lines) + sum(line.count("i ") for line in lines) >= 190


def test_one_is_singular() -> None:
    assert [counted(number, "document") for number in (0, 1, 2000)] == ["0 documents", "1 document", "2,000 documents"]
