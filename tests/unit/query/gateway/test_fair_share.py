"""A request with many searches has the share of one caller."""

import pytest

from query.gateway import fair_share
from query.gateway.fair_share import FairShare


def test_a_request_that_is_alone_may_run_many_searches_at_once() -> None:
    share = FairShare()
    with share.request():
        assert share.at_once(8) == 8


def test_a_request_beside_others_runs_one_search_at_a_time() -> None:
    share = FairShare()
    with share.request(), share.request():
        assert share.at_once(8) == 1


def test_a_caller_who_pauses_between_searches_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(fair_share.time, "monotonic", lambda: now)
    share = FairShare()
    with share.request():
        with share.request():
            pass
        now += 0.9
        assert share.at_once(8) == 1
        now += 0.2
        assert share.at_once(8) == 8


def test_earlier_requests_of_the_same_caller_do_not_count() -> None:
    share = FairShare()
    with share.request():
        pass
    with share.request():
        assert share.at_once(8) == 8
