"""Values of URL parameters of fused searches that Elasticsearch would reject."""

import pytest

from esblend.errors import InvalidRequest
from query.language.url_parameters import apply_parameters


@pytest.mark.parametrize(
    "name", ["pretty", "human", "error_trace", "rest_total_hits_as_int", "ccs_minimize_roundtrips", "request_cache"]
)
def test_a_flag_is_true_or_false(name: str) -> None:
    for value in ("", "true", "false"):
        apply_parameters({}, {name: value})
    with pytest.raises(InvalidRequest, match=r"Failed to parse value \[x\] as only \[true\] or \[false\] are allowed"):
        apply_parameters({}, {name: "x"})


@pytest.mark.parametrize(
    ("name", "lowest"), [("batched_reduce_size", 2), ("max_concurrent_shard_requests", 1), ("pre_filter_shard_size", 1)]
)
def test_a_limit_without_effect_is_checked_all_the_same(name: str, lowest: int) -> None:
    apply_parameters({}, {name: str(lowest)})
    with pytest.raises(InvalidRequest, match="at least"):
        apply_parameters({}, {name: str(lowest - 1)})
    with pytest.raises(InvalidRequest, match=rf"Failed to parse int parameter \[{name}\] with value \[x\]"):
        apply_parameters({}, {name: "x"})
