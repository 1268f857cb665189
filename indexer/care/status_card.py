"""Draws the status of attached indices for a terminal: one card per index."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from esblend.cli.console import counted

_BAR_WIDTH = 24


def cards(statuses: Sequence[dict[str, Any]]) -> Group:
    """A card for each status, as the status endpoint returns them, or with the `error` in place of it."""
    parts: list[RenderableType] = []
    for status in statuses:
        parts += [*_card(status), Text()]
    return Group(*parts[:-1])


def _card(status: dict[str, Any]) -> list[RenderableType]:
    name = Text.assemble((status["index"], "bold"), overflow="fold")
    if "error" in status:
        return [name, Text(f"unknown: {status['error']}", style="bold red")]
    active = next((value for value in status["generations"].values() if value["active"]), None)
    if active is not None:
        name.append(f"  {active['model'].rsplit('/', 1)[-1]}", style="dim")
    return [name, _coverage(status), _figures(status), *_problems(status), *_other_generations(status)]


def _coverage(status: dict[str, Any]) -> RenderableType:
    """Coverage is green only when every document that should have vectors has them."""
    is_covered = status["coverage"] >= 1 and status["embedded"] > 0 and not status["paused"]
    return _bar(status["coverage"], "green" if is_covered else "yellow", _embedded(status))


def _bar(share: float, colour: str, text: str) -> RenderableType:
    bar = ProgressBar(total=1, completed=share, width=_BAR_WIDTH, complete_style=colour, finished_style=colour)
    row = Table.grid(padding=(0, 2))
    row.add_row(bar, Text(percent(share), style=colour), Text(text, overflow="fold"))
    return row


def _embedded(status: dict[str, Any]) -> str:
    return f"{status['embedded']:,} of {status['documents']:,} documents have vectors"


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
        figures.append(Text(counted(status["dead_letters"], "dead letter"), style="bold red"))
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
        return f"backfill paused, {backfill['remaining']:,} left"
    seconds = backfill["seconds_left"]
    if seconds is None:
        return f"backfill: {backfill['remaining']:,} left"
    return f"backfill: {timedelta(seconds=round(seconds))} left"


def _other_generations(status: dict[str, Any]) -> list[RenderableType]:
    """A line for each inactive generation: a migration under way, or what a roll-back needs."""
    active = next((name for name, value in status["generations"].items() if value["active"]), None)
    if active is None:
        return []
    others = ((name, value) for name, value in status["generations"].items() if name != active)
    return [_other_generation(name, value, active, status["documents"]) for name, value in others]


def _other_generation(name: str, value: dict[str, Any], active: str, documents: int) -> RenderableType:
    shown = f"{name} ({value['model'].rsplit('/', 1)[-1]})"
    if _number(name) < _number(active):
        return Text(f"also {shown}, for a roll-back", style="dim", overflow="fold")
    if value["missing"]:
        done = max(0, documents - value["missing"])
        return _bar(done / max(1, documents), "cyan", f"migration to {shown}: {done:,} of {documents:,}")
    return Text(f"{shown} has all vectors; searches use {active}", style="cyan", overflow="fold")


def _number(generation: str) -> int:
    return int(generation.removeprefix("g"))


def percent(coverage: float) -> str:
    """Rounded down, so that it is 100 % only when nothing is missing."""
    return f"{int(coverage * 1000) / 10:.1f} %"
