"""The URL parameter `filter_path`: which parts of a response the caller wants."""

import re
from collections.abc import Iterable
from typing import Any

from esblend.errors import InvalidRequest

Pattern = tuple[str, ...]
"""The names on the way to a part. `*` in a name stands for any letters, the name `**` for any way."""
_MAX_PATTERNS = 1000
_NOTHING = object()


def filtered(content: dict[str, Any], filter_path: str) -> dict[str, Any]:
    """The parts of `content` that the comma-separated patterns reach, without those that patterns behind a `-` reach.

    Lists are passed through to their items; what is left empty is left out, as Elasticsearch does. Raises InvalidRequest.
    """
    patterns = [pattern.strip() for pattern in filter_path.split(",") if pattern.strip()]
    if len(patterns) > _MAX_PATTERNS:
        raise InvalidRequest(f"[filter_path] has {len(patterns)} patterns; at most {_MAX_PATTERNS} are allowed")
    excludes = [_names(pattern[1:]) for pattern in patterns if pattern.startswith("-")]
    includes = [_names(pattern) for pattern in patterns if not pattern.startswith("-")]
    left: Any = _drop(content, excludes) if excludes else content
    left = _keep(left, includes) if includes and left is not _NOTHING else left
    return {} if left is _NOTHING else left


def _names(pattern: str) -> Pattern:
    return tuple(name.replace("\\.", ".") for name in re.split(r"(?<!\\)\.", pattern))


def _keep(value: Any, patterns: Iterable[Pattern]) -> Any:
    if isinstance(value, list):
        return _not_empty([found for item in value if (found := _keep(item, patterns)) is not _NOTHING])
    if not isinstance(value, dict):
        return _NOTHING
    kept = {}
    for name, inner in value.items():
        ways = _after(patterns, name)
        found = inner if () in ways else _keep(inner, ways) if ways else _NOTHING
        if found is not _NOTHING:
            kept[name] = found
    return _not_empty(kept)


def _drop(value: Any, patterns: Iterable[Pattern]) -> Any:
    if isinstance(value, list):
        return _not_empty([found for item in value if (found := _drop(item, patterns)) is not _NOTHING])
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, inner in value.items():
        ways = _after(patterns, name)
        found = _NOTHING if () in ways else _drop(inner, ways) if ways else inner
        if found is not _NOTHING:
            kept[name] = found
    return _not_empty(kept)


def _not_empty(value: Any) -> Any:
    return value or _NOTHING


def _after(patterns: Iterable[Pattern], name: str) -> set[Pattern]:
    """What is left of the patterns that take `name` as their next step; () where one ends with it."""
    ways: set[Pattern] = set()
    for first, *rest in patterns:
        if first == "**":
            ways |= {(first, *rest), *(_after([tuple(rest)], name) if rest else [()])}
        elif re.fullmatch(".*".join(map(re.escape, first.split("*"))), name, re.DOTALL):
            ways.add(tuple(rest))
    return ways
