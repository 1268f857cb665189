"""What people bring of their own, found by Python entry points: encoders, splitters, fusions, rerankers."""

from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import structlog

from esblend.errors import InvalidRequest

log = structlog.get_logger()
ENCODERS, PASSAGES, FUSIONS, RERANKERS = (
    f"esblend.{kind}" for kind in ("encoders", "passages", "fusions", "rerankers")
)


def kind_and_name(name: str) -> tuple[str | None, str]:
    """`kind:name` of a model that a plug-in brings; (None, name) for a folder, also one with a drive, or a hub name."""
    kind, separator, rest = name.partition(":")
    is_plain = not separator or "/" in kind or len(kind) == 1 or Path(name).exists()
    return (None, name) if is_plain else (kind, rest)


@cache
def names(group: str) -> tuple[str, ...]:
    """The names that are there, esblend's own included."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


@cache
def find(group: str, name: str) -> Any:
    """What an entry point stands for. Raises InvalidRequest when there is none of that name, or it cannot be imported."""
    points = [point for point in entry_points(group=group) if point.name == name]
    if not points:
        raise InvalidRequest(f"there is no [{name}] among the entry points [{group}]: {', '.join(names(group))}")
    try:
        return points[0].load()
    except Exception as error:  # whatever a package raises that is imported for the first time
        raise InvalidRequest(f"[{name}] of the entry points [{group}] cannot be imported: {error}") from error
