"""The URL parameter `filter_path`: the parts of a response that the caller wants."""

import re
from collections.abc import Iterable
from typing import Any

from esblend.errors import InvalidRequest
from esblend.wildcards import Wildcard

Pattern = tuple[str, ...]
"""The names on the path to a part. `*` in a name matches any characters, the name `**` any path."""
_MAX_PATTERNS = 1000
_NOTHING = object()


def filtered(content: dict[str, Any], filter_path: str) -> dict[str, Any]:
    """The parts of `content` that comma-separated patterns select, without the parts that patterns after a `-` select.

    Items of lists are filtered one by one, and empty results are left out, as in Elasticsearch. Raises InvalidRequest.
    """
    patterns = [pattern.strip() for pattern in filter_path.split(",") if pattern.strip()]
    if len(patterns) > _MAX_PATTERNS:
        raise InvalidRequest(f"[filter_path] has {len(patterns)} patterns; at most {_MAX_PATTERNS} are allowed")
    excludes = {_names(pattern[1:]) for pattern in patterns if pattern.startswith("-")}
    includes = {_names(pattern) for pattern in patterns if not pattern.startswith("-")}
    rest: Any = _exclude(content, excludes) if excludes else content
    rest = _include(rest, includes) if includes and rest is not _NOTHING else rest
    return {} if rest is _NOTHING else rest


def _names(pattern: str) -> Pattern:
    return tuple(name.replace("\\.", ".") for name in re.split(r"(?<!\\)\.", pattern))


def _include(value: Any, patterns: Iterable[Pattern]) -> Any:
    if isinstance(value, list):
        return _not_empty([part for item in value if (part := _include(item, patterns)) is not _NOTHING])
    if not isinstance(value, dict):
        return _NOTHING
    parts = {}
    for name, inner in value.items():
        remaining = _remaining(patterns, name)
        part = inner if () in remaining else _include(inner, remaining) if remaining else _NOTHING
        if part is not _NOTHING:
            parts[name] = part
    return _not_empty(parts)


def _exclude(value: Any, patterns: Iterable[Pattern]) -> Any:
    if isinstance(value, list):
        return _not_empty([part for item in value if (part := _exclude(item, patterns)) is not _NOTHING])
    if not isinstance(value, dict):
        return value
    parts = {}
    for name, inner in value.items():
        remaining = _remaining(patterns, name)
        part = _NOTHING if () in remaining else _exclude(inner, remaining) if remaining else inner
        if part is not _NOTHING:
            parts[name] = part
    return _not_empty(parts)


def _not_empty(value: Any) -> Any:
    return value or _NOTHING


def _remaining(patterns: Iterable[Pattern], name: str) -> set[Pattern]:
    """The remaining names of the patterns whose next name matches `name`; () for a pattern that ends with it."""
    remaining: set[Pattern] = set()
    for pattern in patterns:
        position = 0
        while position < len(pattern) and pattern[position] == "**":  # matches `name`, and also an empty path
            remaining.add(pattern[position:])
            position += 1
        if position == len(pattern):
            remaining.add(())
        elif Wildcard(pattern[position]).matches(name):
            remaining.add(pattern[position + 1 :])
    return remaining
