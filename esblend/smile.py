"""Writes SMILE, a binary form of JSON that Elasticsearch reads (github.com/FasterXML/smile-format-specification).

Elasticsearch reads a 32-bit number of it without parsing digits. What it stores is the same: it applies a partial update to the
JSON of the document.
"""

from collections.abc import Iterator, Sequence
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
_FLOAT = 0x28
_FLOAT_LAYOUT = np.dtype([("first_four", "<u4"), ("last_two", "<u2")])
_FLOAT_BYTES = 6


def lines(contents: Sequence[Any]) -> list[bytes]:
    """Each content as one line of a bulk body. NumPy arrays of float32 become arrays of numbers; all of them together, because a
    call of NumPy takes longer than the numbers of one vector."""
    parts_of = [list(_parts(content)) for content in contents]
    arrays = [part for parts in parts_of for part in parts if isinstance(part, np.ndarray)]
    encoded = iter(_numbers(arrays))
    return [
        b"".join([HEADER, *(next(encoded) if isinstance(part, np.ndarray) else part for part in parts), _END_OF_LINE])
        for parts in parts_of
    ]


def _parts(content: Any) -> Iterator[bytes | NDArray[np.float32]]:
    """The tokens of a value; an array stands for its numbers."""
    if isinstance(content, dict):
        yield _OBJECT
        for name, value in content.items():
            yield _name(name)
            yield from _parts(value)
        yield _END_OF_OBJECT
    elif isinstance(content, list | np.ndarray):
        yield _ARRAY
        if isinstance(content, np.ndarray):
            yield content
        else:
            for value in content:
                yield from _parts(value)
        yield _END_OF_ARRAY
    elif isinstance(content, str):
        yield _string(content)
    elif content is None:
        yield _NULL
    elif isinstance(content, bool):
        yield _TRUE if content else _FALSE
    elif isinstance(content, int):
        yield _integer(content)
    else:
        raise TypeError(f"{type(content).__name__} is not a value of a bulk line")


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
