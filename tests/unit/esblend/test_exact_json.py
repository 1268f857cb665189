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


@pytest.mark.parametrize(
    ("text", "is_long"),
    [
        ("[0.03470353037118912, -0.0034703530371189123]", False), ("[0.00001234567890123456]", False),
        ("[0.0123456789012345678]", True), ("12345678901.2345678901", True), ("10.034703530371189123", True),
        ("1.00347035303711891234", True), ("1E-400", True), ("1e-40", False), ("1795670242202", False),
    ],
)  # fmt: skip
def test_the_digits_that_a_double_cannot_hold_are_significant_ones(text: str, is_long: bool) -> None:
    assert exact_json._has_long_number(text.encode()) is is_long


@given(
    st.integers(0, 10**9),
    st.integers(0, 8),
    st.integers(10**17, 10**30),
    st.sampled_from(["", "-"]),
    st.text(" ,[a", max_size=3),
)
def test_no_long_number_is_missed(whole: int, zeros: int, digits: int, sign: str, around: str) -> None:
    text = f"{around}{sign}{whole}.{'0' * zeros}{digits}{around}"
    assert exact_json._has_long_number(text.encode())
