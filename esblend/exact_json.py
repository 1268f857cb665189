"""JSON that keeps what Elasticsearch keeps: lone surrogates in strings, and numbers with more digits than a double holds.

orjson reads and writes almost everything. It rejects lone surrogates and rounds long numbers, so such documents take the slower
standard library.
"""

import json
import re
from typing import Any, Never

import orjson

# Each byte by its part in a number: zero, another digit, point, exponent. Signs separate numbers, like everything else.
_KINDS = bytes(
    ord("0") if byte in b"0" else ord("1") if byte in b"123456789" else ord(".") if byte in b"." else
    ord("e") if byte in b"eE" else ord(" ")
    for byte in range(256)
)  # fmt: skip
_DIGITS_ALIKE = bytes.maketrans(b"0", b"1")
_RUNS = _KINDS.translate(bytes.maketrans(b"0.", b"11"))
"""`_KINDS` with one symbol for digits and points."""
_LEADING_ZEROS = 5
"""Zeros after the point of a small number. Writers use an exponent rather than more zeros."""


def loads(data: bytes, *, keeps_digits: bool = True) -> Any:
    """Parse JSON. A number that neither a 64-bit integer nor a double can hold becomes an `orjson.Fragment` of its digits.
    `keeps_digits`: if false, it is rounded to a double. That is for content that holds no numbers of users.

    Raises ValueError for anything that is not JSON, including NaN, Infinity and deep nesting.
    """
    if not keeps_digits or not _has_long_number(data):
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
    """Whether a number may have more than the 17 significant digits of a double, or an exponent of three digits.

    Every query vector and every response is examined, so this uses methods of `bytes` that search 200 MB a second. The
    zeros of 0.00347 are not significant: vectors are full of them.
    """
    runs = data.translate(
        _RUNS, b"+-"
    )  # without signs, an exponent needs one search; `1-2` becomes one number, which does no harm
    if b"1" * 18 not in runs and b"1e111" not in runs:
        return False  # nearly every body; the exact check takes several times longer
    kinds = data.translate(_KINDS)
    digits = kinds.translate(_DIGITS_ALIKE, b".")
    if b"1e111" in digits or b"1e 111" in digits:
        return True
    if b"1" * 18 not in digits:
        return False
    kinds = kinds.replace(b" 0.", b" .")
    for _ in range(_LEADING_ZEROS):
        kinds = kinds.replace(b" .0", b" .")
    return b"1" * 18 in kinds.translate(_DIGITS_ALIKE, b".")


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
