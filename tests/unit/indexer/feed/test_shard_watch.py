"""How the names of indices are divided into requests."""

from indexer.feed.shard_watch import _MAX_REQUESTS, _MAX_URL_CHARACTERS, _targets
from mappings.index_lookup import ATTACHABLE_INDICES


def test_few_names_are_one_request() -> None:
    assert _targets({"b", "a"}) == ["a,b"]


def test_names_that_do_not_fit_into_a_url_are_several_requests() -> None:
    names = {f"{number:0255}" for number in range(20)}
    targets = _targets(names)
    assert 1 < len(targets) <= _MAX_REQUESTS
    assert all(len(target) <= _MAX_URL_CHARACTERS for target in targets)
    assert set(",".join(targets).split(",")) == names


def test_many_names_are_one_request_for_all_indices() -> None:
    assert _targets({f"{number:0255}" for number in range(100)}) == [ATTACHABLE_INDICES]
