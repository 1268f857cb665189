"""URL parameters of a fused search."""

import pytest

from esblend.errors import InvalidRequest
from query.language.url_parameters import apply_parameters


def test_parameters_go_where_they_belong() -> None:
    given = {
        "size": "3",
        "routing": "r",
        "track_total_hits": "true",
        "_source_includes": "a,b",
        "typed_keys": "",
        "request_cache": "true",
    }
    body, parameters = apply_parameters({"query": {}}, given)
    assert body == {"query": {}, "size": 3, "track_total_hits": True, "_source": {"includes": ["a", "b"]}}
    assert parameters.header == {"routing": "r"}
    assert parameters.response == {"typed_keys": ""}


@pytest.mark.parametrize(("name", "value"), [("scroll", "1m"), ("q", "x"), ("size", "many")])
def test_what_cannot_be_combined_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        apply_parameters({}, {name: value})
