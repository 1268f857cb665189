"""Terminal output: one console for tables and progress, JSON for scripts."""

import os
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

# Without `highlight`, which colours numbers inside sentences, and without `markup`, which swallows [names] in brackets.
out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120)
err = Console(
    stderr=True, highlight=False, markup=False, width=None if sys.stderr.isatty() or "COLUMNS" in os.environ else 120
)


def print_json(value: Any) -> None:
    """Exactly one JSON document on stdout, so that a script can parse all of it."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
    sys.stdout.flush()


def table(*headings: str, figures: Collection[str] = (), title: str | None = None) -> "Table":
    """An empty table that fits the terminal: texts wrap, and the columns in `figures` are never cut."""
    from rich import box
    from rich.table import Column, Table

    columns = [
        Column(heading, justify="right", no_wrap=True) if heading in figures else Column(heading, overflow="fold")
        for heading in headings
    ]
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left")


def counted(number: int, noun: str) -> str:
    """`1 document`, `2,000 documents`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def count_progress() -> "Progress":
    """A progress bar on stderr. It draws only on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
    )
