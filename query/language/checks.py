"""Small checks of request values. Each error names the key at fault."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from esblend.errors import InvalidRequest, MalformedRequest

_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?([eE][+-]?\d{1,2})?", re.ASCII)
MAX_WINDOW = 10_000
"""Elasticsearch's default of `index.max_result_window`."""


def filters_of(body: Mapping[str, Any], where: str) -> tuple[dict[str, Any], ...]:
    given = body.get("filter")
    if given is None:
        return ()
    clauses = given if isinstance(given, list) else [given]
    if not all(isinstance(clause, dict) for clause in clauses):
        raise MalformedRequest(f"[{where}.filter] must be a query or a list of queries")
    return tuple(clauses)


def refuse_unknown(body: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in body:
        if key not in known:
            raise MalformedRequest(f"[{where}] unknown field [{key}]; known: {', '.join(sorted(known))}")


def inner_object(body: Mapping[str, Any], key: str, where: str, default: dict[str, Any]) -> dict[str, Any]:
    value = body.get(key, default)
    if not isinstance(value, dict):
        raise MalformedRequest(f"[{where}.{key}] must be an object")
    return value


def choice(body: Mapping[str, Any], key: str, choices: tuple[str, ...], where: str) -> str | None:
    value = body.get(key)
    if key in body and value not in choices:
        raise InvalidRequest(f"[{where}.{key}] is [{value}]; known: {', '.join(choices)}")
    return value


def boolean(body: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = body.get(key, default)
    if value in ("true", "false"):
        return bool(value == "true")
    if not isinstance(value, bool):
        raise MalformedRequest(f"[{key}] must be true or false")
    return value


def number(
    body: Mapping[str, Any],
    key: str,
    *,
    where: str,
    low: float | None = None,
    high: float | None = None,
    default: float | None = None,
) -> float | None:
    if key not in body:
        return default
    value = _numeric(body[key])
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e38:
        raise MalformedRequest(f"[{where}.{key}] must be a number")
    if (low is not None and value < low) or (high is not None and value > high):
        span = f"from {low:g} to {high:g}" if low is not None and high is not None else f"at least {low:g}"
        raise InvalidRequest(f"[{where}.{key}] is {value:g}; it must be {span}")
    return float(value)


def _numeric(value: Any) -> Any:
    """A number in a string becomes a number, as in Elasticsearch; other values stay unchanged."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if value.lstrip("+-").isdecimal() else float(value)


def integer(body: Mapping[str, Any], key: str, default: Any, *, low: int, high: int, where: str = "") -> Any:
    if key not in body:
        return default
    value = _numeric(body[key])
    name = f"{where}.{key}" if where else key
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise MalformedRequest(f"[{name}] must be a whole number")
    if not low <= value <= high:
        raise InvalidRequest(f"[{name}] is {value}; it must be from {low} to {high}")
    return value


def objects_of(body: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in a body, at any depth."""
    stack = [body]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict):
            yield value
            stack.extend(value.values())
