"""Bodies as Elasticsearch reads them: a key may not come twice in an object, and a byte order mark is skipped."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esblend.errors import UnreadableField
from query.gateway.bodies import parse_extended_body
from query.gateway.duplicate_keys import duplicate_key
from query.gateway.multi_search_lines import parse_items

SCOPE: dict[str, Any] = {"headers": [(b"content-type", b"application/json")]}
TWICE = b'{"query": {"match_all": {}}, "query": {"hybrid": {"query": "x"}}}'


def test_a_key_that_comes_twice_is_refused_by_name() -> None:
    with pytest.raises(UnreadableField, match="Duplicate field 'query'"):
        parse_extended_body(TWICE, SCOPE)
    with pytest.raises(UnreadableField, match="Duplicate field 'query'"):
        list(parse_items(b"{}\n" + TWICE + b"\n"))


def test_a_byte_order_mark_is_skipped() -> None:
    body = b'\xef\xbb\xbf{"query": {"hybrid": {"query": "x"}}}'
    assert parse_extended_body(body, SCOPE) == {"query": {"hybrid": {"query": "x"}}}


@pytest.mark.parametrize(
    ("body", "duplicate"),
    [
        (b'{"a": {"b": 1, "c": [{"d": 1, "d": 2}]}}', "d"), (b'{"a" : 1,\n"a"\t:2}', "a"), (b'{"a": "x\\": ", "b": 1}', None),
        (b'{"a": {"b": 1}, "c": {"b": 1}}', None), (b'{"\\u0061": 1, "a": 2}', "a"), (b"[]", None),
    ],
)  # fmt: skip
def test_duplicates_by_hand(body: bytes, duplicate: str | None) -> None:
    assert duplicate_key(body, orjson.loads(body)) == duplicate


VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(max_size=4) | st.just('": '),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just('"x":'), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_an_object_without_duplicates_passes(value: Any) -> None:
    text = orjson.dumps(value)
    assert duplicate_key(text, orjson.loads(text)) is None
