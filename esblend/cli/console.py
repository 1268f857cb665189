"""Terminal output: one console for tables and progress, JSON for scripts."""

import os
import sys
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

# Without `highlight`, which colours numbers inside sentences, and without `markup`, which swallows [names] in brackets.
out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 120)
err = Console(
    stderr=True, highlight=False, markup=False, width=None if sys.stderr.isatty() or "COLUMNS" in os.environ else 120
)


def print_json(value: Any) -> None:
    """Exactly one JSON document on stdout, so that a script can parse all of it."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
    sys.stdout.flush()


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
