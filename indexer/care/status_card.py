"""Draws the status of attached indices for a terminal: one card per index."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_BAR_WIDTH = 24


def cards(statuses: Sequence[dict[str, Any]]) -> Group:
    """A card for each status, as the status endpoint returns them, or with the `error` in place of it."""
    parts: list[RenderableType] = []
    for status in statuses:
        parts += [*_card(status), Text()]
    return Group(*parts[:-1])


def _card(status: dict[str, Any]) -> list[RenderableType]:
    name = Text(status["index"], style="bold", overflow="fold")
    if "error" in status:
        return [name, Text(f"unknown: {status['error']}", style="bold red")]
    active = next((value for value in status["generations"].values() if value["active"]), None)
    if active is not None:
        name.append(f"  {active['model'].rsplit('/', 1)[-1]}", style="dim")
    return [name, _coverage(status), _figures(status), *_problems(status), *_other_generations(status)]


def _coverage(status: dict[str, Any]) -> RenderableType:
    """Coverage is green only when every document that should have vectors has them."""
    is_covered = status["coverage"] >= 1 and status["embedded"] > 0 and not status["paused"]
    colour = "green" if is_covered else "yellow"
    bar = ProgressBar(
        total=1, completed=status["coverage"], width=_BAR_WIDTH, complete_style=colour, finished_style=colour
    )
    row = Table.grid(padding=(0, 2))
    row.add_row(bar, Text(percent(status["coverage"]), style=colour), _embedded(status))
    return row


def _embedded(status: dict[str, Any]) -> Text:
    return Text(f"{status['embedded']:,} of {status['documents']:,} documents have vectors")


def _figures(status: dict[str, Any]) -> Text:
    """The numbers that are not zero, on one line that may wrap between them."""
    lag = status["lag_seconds"]
    figures = [Text("lag unknown" if lag is None else f"lag {lag:.1f} s")]
    if status["pending"]:
        figures.append(Text(f"{status['pending']:,} pending", style="yellow"))
    if status["documents_per_second"]:
        figures.append(Text(f"{status['documents_per_second']:.1f} documents/s"))
    if (remaining := _remaining(status["backfill"])) is not None:
        figures.append(Text(remaining))
    if status["without_text"]:
        figures.append(Text(f"{status['without_text']:,} without text", style="dim"))
    if status["dropped"]:
        figures.append(Text(f"{status['dropped']:,} dropped", style="dim"))
    if status["dead_letters"]:
        figures.append(Text(f"{status['dead_letters']:,} dead letters", style="bold red"))
    return Text("  ·  ").join(figures)


def _problems(status: dict[str, Any]) -> list[RenderableType]:
    """Why the feed does not read the index, and what in the index prevents embedding or search."""
    paused = [f"paused: {status['paused']}"] if status["paused"] else []
    problems = [f"{problem['detail']}: {problem['advice']}" for problem in status["problems"]]
    return [Text(line, style="bold red") for line in (*paused, *problems)]


def _remaining(backfill: dict[str, Any]) -> str | None:
    """How long the backfill still takes."""
    if not backfill["remaining"]:
        return None
    if backfill["paused"]:
        return f"backfill paused, {backfill['remaining']:,} remaining"
    seconds = backfill["seconds_left"]
    if seconds is None:
        return f"backfill: {backfill['remaining']:,} remaining"
    return f"backfill: {timedelta(seconds=round(seconds))} remaining"


def _other_generations(status: dict[str, Any]) -> list[RenderableType]:
    """A line for each inactive generation: a running migration, or an old generation for a rollback."""
    return [
        Text(f"also {name}: {value['model'].rsplit('/', 1)[-1]}", style="cyan")
        for name, value in status["generations"].items()
        if not value["active"]
    ]


def percent(coverage: float) -> str:
    """Rounded down, so that it is 100 % only when nothing is missing."""
    return f"{int(coverage * 1000) / 10:.1f} %"
