"""SMILE, byte by byte as in its specification. `tests/real/test_smile.py` lets Elasticsearch read it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esblend import smile

HEADER = b":)\n\x00"


def test_a_line_is_a_header_the_tokens_and_the_end_of_a_line() -> None:
    # {"a": "x", "n": [null, true, false, ""]}: names and short strings carry their length or their end.
    content = {"a": "x", "n": [None, True, False, ""]}
    tokens = b"\xfa\x80a\xe0x\xfc\x80n\xf8\x21\x23\x22\x20\xf9\xfb"
    assert smile.lines([content]) == [HEADER + tokens + b"\xff"]


@pytest.mark.parametrize(
    ("number", "token"),
    [
        (0, b"\x24\x80"),
        (-1, b"\x24\x81"),
        (31, b"\x24\xbe"),  # zigzag 62: the six bits of the last byte
        (32, b"\x24\x01\x80"),  # zigzag 64: one more byte
        (2**31, b"\x25\x20\x00\x00\x00\x80"),  # zigzag 2^32
    ],
)  # fmt: skip
def test_an_integer_is_zigzag_with_six_bits_in_the_last_byte(number: int, token: bytes) -> None:
    assert smile.lines([number]) == [HEADER + token + b"\xff"]


def test_an_integer_of_numpy_is_an_integer() -> None:
    """A splitter of a plug-in may compute offsets with NumPy. JSON accepts them as well."""
    assert smile.lines([np.int64(-(2**63)), np.int32(32)]) == smile.lines([-(2**63), 32])


def test_a_float_is_4_and_four_times_7_of_its_bits() -> None:
    # 1.0 is 0x3F800000: 0011 1111100 0000000 0000000 0000000; -2.0 is 0xC0000000: 1100 0000000 ...
    one, minus_two = b"\x28\x03\x7c\x00\x00\x00", b"\x28\x0c\x00\x00\x00\x00"
    array = np.array([1.0, -2.0], dtype=np.float32)
    assert smile.lines([array]) == [HEADER + b"\xf8" + one + minus_two + b"\xf9\xff"]


def test_each_array_of_several_lines_keeps_its_numbers() -> None:
    arrays = [np.arange(length, dtype=np.float32) for length in (2, 0, 3)]
    together = smile.lines([{"a": arrays[0], "b": arrays[1]}, [arrays[2]]])
    alone = [smile.lines([array])[0][len(HEADER) : -1] for array in arrays]
    assert together == [
        HEADER + b"\xfa\x80a" + alone[0] + b"\x80b" + alone[1] + b"\xfb\xff",
        HEADER + b"\xf8" + alone[2] + b"\xf9\xff",
    ]


def test_other_values_are_rejected() -> None:
    with pytest.raises(TypeError, match="set"):
        smile.lines([{"a": {1}}])


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(min_size=4, max_size=16).map(
        lambda bits: np.frombuffer(bits[: len(bits) // 4 * 4], dtype=np.float32)
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip


@given(_values)
def test_the_end_of_a_line_appears_nowhere_else(content: object) -> None:
    """Elasticsearch splits a bulk body at this byte."""
    [line] = smile.lines([content])
    assert line.index(b"\xff") == len(line) - 1
