"""JSON in and out without a change of value."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esblend import exact_json


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551616", "123456789012345678901234567890", "-9223372036854775809", "0.1234567890123456789012345",
        "1e400", "-1.5E-999", "9007199254740993", "1234567890123456789", "18446744073709551615", "[1,2.5,true,null]",
        '{"a":"\\ud800"}', '{"a":"\\ud800","n":123456789012345678901234567890}',
    ],
)  # fmt: skip
def test_a_value_comes_out_as_it_went_in(text: str) -> None:
    assert exact_json.dumps(exact_json.loads(text.encode())).decode() == text


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", '{"a":NaN}', "[" * 5000 + "]" * 5000, "", "{", "123456789012345678x"]
)
def test_anything_else_than_json_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        exact_json.loads(text.encode())


def test_a_number_outside_of_json_is_rejected_beside_a_lone_surrogate() -> None:
    with pytest.raises(ValueError, match="NaN"):
        exact_json.loads(b'["\\ud800", NaN]')


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(_values)
def test_any_value_keeps_its_meaning(value: object) -> None:
    raw = json.dumps(value).encode()
    assert json.loads(exact_json.dumps(exact_json.loads(raw))) == value


def test_arrays_become_lists() -> None:
    assert exact_json.dumps({"v": np.asarray([1, 2], dtype=np.float32)}) == b'{"v":[1.0,2.0]}'
    assert (
        exact_json.dumps({"v": np.asarray([1, 2], dtype=np.float32), "a": "\ud800"}) == b'{"v":[1.0,2.0],"a":"\\ud800"}'
    )


@given(st.text("0123456789eE+-.,a ", max_size=150))
def test_long_responses_are_searched_for_long_numbers_as_short_ones_are(text: str) -> None:
    padding = b" " * exact_json._SHORT
    found = exact_json._has_long_number(text.encode())
    assert exact_json._has_long_number(padding + text.encode()) == found
    assert exact_json._has_long_number(text.encode() + padding) == found
