"""JSON that keeps what Elasticsearch keeps: lone surrogates in strings, and numbers with more digits than a double holds.

orjson reads and writes almost everything. It rejects lone surrogates and rounds long numbers, so such documents take the slower
standard library.
"""

import json
import re
from typing import Any, Never

import orjson

# A double has 17 significant digits at most; an exponent of three digits can exceed its range.
_LONG_NUMBER = re.compile(rb"\d{18}|\d[eE][+-]?\d{3}")
_SHORT = 100_000
"""Bytes that the regular expression searches in less than 2 ms."""


def loads(data: bytes) -> Any:
    """Parse JSON. A number that neither a 64-bit integer nor a double can hold becomes an `orjson.Fragment` of its digits.

    Raises ValueError for anything that is not JSON, including NaN, Infinity and deep nesting.
    """
    if not _has_long_number(data):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            if rb"\u" not in data:  # only an escape can be a lone surrogate
                raise ValueError(str(error)) from error
    try:
        return json.loads(data, parse_constant=_reject, parse_int=_integer, parse_float=_decimal)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def dumps(content: Any, *, pretty: bool = False) -> bytes:
    """NumPy arrays become JSON arrays."""
    options = orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_INDENT_2 if pretty else 0)
    try:
        return orjson.dumps(content, option=options)
    except TypeError:
        return _dumps_surrogates(content, indent=2 if pretty else None)


def _has_long_number(data: bytes) -> bool:
    """Whether a number may have more digits than a double holds. A regular expression takes 0.6 s for 32 MB, arrays 0.05 s."""
    if len(data) < _SHORT:
        return _LONG_NUMBER.search(data) is not None
    import numpy as np  # not needed by commands, which never see long responses

    values = np.frombuffer(data, dtype=np.uint8)
    is_digit = (values - np.uint8(48)) < 10
    sampled = np.flatnonzero(is_digit[::18]) * 18  # 18 digits in a row contain a position that is a multiple of 18
    before, after = np.zeros(len(sampled), dtype=np.int64), np.zeros(len(sampled), dtype=np.int64)
    for length, step in ((before, -1), (after, 1)):
        running = np.arange(len(sampled))
        for distance in range(1, 18):
            positions = sampled[running] + step * distance
            running = running[(positions >= 0) & (positions < len(data))]
            running = running[is_digit[sampled[running] + step * distance]]
            length[running] = distance
    if bool((before + after + 1 >= 18).any()):
        return True
    exponents = np.flatnonzero(is_digit[:-1] & ((values[1:] | 32) == ord("e")))
    return any(_LONG_NUMBER.match(data, int(position)) is not None for position in exponents)


def _reject(constant: str) -> Never:
    raise ValueError(f"[{constant}] is not a JSON value")


def _integer(digits: str) -> Any:
    value = int(digits) if len(digits) <= 20 else None
    return value if value is not None and -(2**63) <= value < 2**64 else orjson.Fragment(digits.encode())


def _decimal(text: str) -> Any:
    value = float(text)
    exact = value not in (float("inf"), float("-inf")) and _significant(repr(value)) == _significant(text)
    return value if exact else orjson.Fragment(text.encode())


def _significant(text: str) -> tuple[str, int]:
    """The digits of a decimal number without leading and trailing zeros, and its exponent."""
    mantissa, _, exponent = text.lstrip("-").lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) - len(fraction)
    stripped = digits.rstrip("0")
    return stripped, power + len(digits) - len(stripped) if stripped else 0


def _dumps_surrogates(content: Any, *, indent: int | None) -> bytes:
    """The standard library writes lone surrogates as escapes; placeholders mark long numbers, which are inserted afterwards."""
    numbers: list[bytes] = []

    def replace(value: Any) -> Any:
        if isinstance(value, orjson.Fragment):
            numbers.append(orjson.dumps(value))
            return f"\ufdd0{len(numbers) - 1}\ufdd1"
        if hasattr(value, "tolist"):  # a NumPy array; NumPy is not imported for this
            return value.tolist()
        raise TypeError(f"{type(value).__name__} is not a JSON value")

    separators = (",", ":") if indent is None else None
    text = json.dumps(content, default=replace, indent=indent, separators=separators, allow_nan=False)
    return re.sub(r'"\\ufdd0(\d+)\\ufdd1"', lambda match: numbers[int(match[1])].decode(), text).encode()
