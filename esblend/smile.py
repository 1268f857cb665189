"""Writes SMILE, a binary form of JSON that Elasticsearch reads (github.com/FasterXML/smile-format-specification).

Elasticsearch reads a 32-bit number of it without parsing digits. What it stores is the same: it applies a partial update to the
JSON of the document.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUBTYPE = "application/vnd.elasticsearch+smile"
MEDIA_TYPE = f"{SUBTYPE}; compatible-with=8"
"""8.x and 9.x servers both accept it, beside answers in JSON of the same version."""
HEADER = b":)\n\x00"
"""Without back references to earlier names and strings, and without raw bytes: so 0xFF appears at the ends of lines only."""
_END_OF_LINE = b"\xff"
_EMPTY, _NULL, _FALSE, _TRUE = b"\x20", b"\x21", b"\x22", b"\x23"
_INT, _LONG = b"\x24", b"\x25"
_ASCII, _UNICODE, _END_OF_STRING = b"\xe0", b"\xe4", b"\xfc"
_ARRAY, _END_OF_ARRAY, _OBJECT, _END_OF_OBJECT = b"\xf8", b"\xf9", b"\xfa", b"\xfb"
_LONG_NAME = b"\x34"
_NUMBERS = b"the numbers of an array"
_FLOAT = 0x28
_FLOAT_LAYOUT = np.dtype([("first_four", "<u4"), ("last_two", "<u2")])
_FLOAT_BYTES = 6


def lines(contents: Sequence[Any]) -> list[bytes]:
    """Each content as one line of a bulk body. NumPy arrays of float32 become arrays of numbers."""
    arrays: list[NDArray[np.float32]] = []
    tokens_of = [_tokens(content, arrays) for content in contents]
    numbers = _numbers(arrays)
    return [b"".join([next(numbers) if token is _NUMBERS else token for token in tokens]) for tokens in tokens_of]


def _tokens(content: Any, arrays: list[NDArray[np.float32]]) -> list[bytes]:
    """The tokens of a line, with `_NUMBERS` in place of the numbers of each array: a call of NumPy takes longer than the numbers of
    one vector, so those of all lines are made together."""
    tokens = [HEADER]
    append = tokens.append

    def add(value: Any) -> None:
        if isinstance(value, dict):
            append(_OBJECT)
            for name, item in value.items():
                append(_name(name))
                add(item)
            append(_END_OF_OBJECT)
        elif isinstance(value, str):
            append(_string(value))
        elif isinstance(value, np.ndarray):
            append(_ARRAY)
            append(_NUMBERS)
            append(_END_OF_ARRAY)
            arrays.append(value)
        elif isinstance(value, list):
            append(_ARRAY)
            for item in value:
                add(item)
            append(_END_OF_ARRAY)
        elif value is None:
            append(_NULL)
        elif isinstance(value, bool):
            append(_TRUE if value else _FALSE)
        elif isinstance(value, int):
            append(_integer(value))
        elif isinstance(value, np.integer):  # offsets of a splitter that computes with NumPy
            append(_integer(int(value)))
        else:
            raise TypeError(f"{type(value).__name__} is not a value of a bulk line")

    add(content)
    append(_END_OF_LINE)
    return tokens


@lru_cache(1000)
def _name(name: str) -> bytes:
    text = name.encode("utf-8", "surrogatepass")
    if name.isascii() and 1 <= len(text) <= 64:
        return bytes([0x80 + len(text) - 1]) + text
    return _LONG_NAME + text + _END_OF_STRING if text else _EMPTY


def _string(string: str) -> bytes:
    text = string.encode(
        "utf-8", "surrogatepass"
    )  # Elasticsearch reads half of a surrogate pair as it reads JSON's escape
    return (_ASCII if string.isascii() else _UNICODE) + text + _END_OF_STRING if text else _EMPTY


def _integer(number: int) -> bytes:
    """Zigzag: 0, -1, 1, -2 become 0, 1, 2, 3. Seven bits a byte, but six in the last one, which has the highest bit set."""
    rest = 2 * number if number >= 0 else -2 * number - 1
    digits = [0x80 | rest & 0x3F]
    rest >>= 6
    while rest:
        digits.append(rest & 0x7F)
        rest >>= 7
    return (_INT if -(2**31) <= number < 2**31 else _LONG) + bytes(reversed(digits))


def _numbers(arrays: Sequence[NDArray[np.float32]]) -> Iterator[memoryview]:
    """The numbers of each array: a token, then the 32 bits as 4 + 7 + 7 + 7 + 7."""
    if not arrays:
        return
    bits = np.concatenate(arrays).astype(np.float32, copy=False).view(np.uint32)
    encoded = np.empty(bits.shape, _FLOAT_LAYOUT)
    encoded["first_four"] = _FLOAT | bits >> 20 & 0xF00 | bits >> 5 & 0x7F0000 | bits << 10 & 0x7F000000
    encoded["last_two"] = bits >> 7 & 0x7F | bits << 8 & 0x7F00
    whole, start = memoryview(encoded.tobytes()), 0
    for array in arrays:
        end = start + len(array) * _FLOAT_BYTES
        yield whole[start:end]
        start = end
