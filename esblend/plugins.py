"""Plug-ins, found through Python entry points: encoders, splitters, fusions, rerankers."""

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
    """Splits `kind:name` of a plug-in's model. (None, name) for a folder, with or without a drive letter, or a hub name."""
    kind, separator, rest = name.partition(":")
    is_plain = not separator or "/" in kind or len(kind) == 1 or Path(name).exists()
    return (None, name) if is_plain else (kind, rest)


@cache
def names(group: str) -> tuple[str, ...]:
    """All names of a group, including esblend's own."""
    return tuple(sorted({point.name for point in entry_points(group=group)}))


@cache
def find(group: str, name: str) -> Any:
    """The object of an entry point. Raises InvalidRequest when the name is unknown or cannot be imported."""
    points = [point for point in entry_points(group=group) if point.name == name]
    if not points:
        raise InvalidRequest(f"unknown entry point [{name}] in [{group}]; known: {', '.join(names(group))}")
    try:
        return points[0].load()
    except Exception as error:  # an import can raise anything
        raise InvalidRequest(f"[{name}] of the entry points [{group}] cannot be imported: {error}") from error
