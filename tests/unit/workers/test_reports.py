"""Reports go to the feed that a message names, and to no other key."""

import pytest
from redis import Redis

from workers.reports import reports_of, runs_of


def test_numbers_become_runs() -> None:
    assert runs_of([]) == []
    assert runs_of([7, 3, 5, 4, 9, 3]) == [(3, 5), (7, 7), (9, 9)]


@pytest.mark.parametrize("feed", [None, 7, "", "x" * 32, "0" * 31, "0" * 33, "../queue", {"a": 1}])
def test_a_hostile_feed_is_nobody(feed: object) -> None:
    assert reports_of(Redis(), "t", {"feed": feed}).feed is None


def test_a_message_names_its_feed() -> None:
    assert reports_of(Redis(), "t", {"feed": "0" * 32}).feed == "0" * 32
