"""The lines of an `_msearch`."""

import pytest

from esblend.errors import EsblendError
from query.gateway.multi_search_lines import lines_of, parameters_of, parse_items, target_of


def test_searches_come_in_pairs_of_lines() -> None:
    items = list(parse_items(b'{"index":"a"}\n{"size": 1}\n\n{"size":2}\n'))
    assert [(item.header, item.body) for item in items] == [({"index": "a"}, {"size": 1}), ({}, {"size": 2})]


def test_lines_go_on_as_they_came_unless_their_body_was_changed() -> None:
    items = list(parse_items(b'{"index":"a"}\n{"size": 1}\n\n{"size": 2.50}\n'))
    assert lines_of(items) == b'{"index":"a"}\n{"size": 1}\n\n{"size": 2.50}\n'
    items[0].is_changed = True
    assert lines_of(items) == b'{"index":"a"}\n{"size":1}\n\n{"size": 2.50}\n'


@pytest.mark.parametrize("raw", [b'{"index":"a"}\n', b'{}\n{"a":\n', b"[]\n{}\n", b"{}\n[]\n"])
def test_what_is_no_pair_of_objects_is_refused(raw: bytes) -> None:
    with pytest.raises(EsblendError, match="_msearch"):
        list(parse_items(raw))


def test_a_header_goes_before_the_path() -> None:
    assert target_of({}, "path") == "path"
    assert target_of({"index": ["a", "b"]}, "path") == "a,b"
    assert target_of({"indices": ["a", "b"]}, "path") == "a,b"


def test_headers_are_parameters_of_a_single_search() -> None:
    header = {"index": "a", "routing": "r", "ignore_unavailable": True}
    given = {
        "typed_keys": "true",
        "max_concurrent_searches": "3",
        "search_type": "dfs_query_then_fetch",
        "routing": "of all",
    }
    assert parameters_of(header, given) == {
        "routing": "r", "ignore_unavailable": "true", "typed_keys": "true", "search_type": "dfs_query_then_fetch"
    }  # fmt: skip
