"""A backfill is no faster than its limit."""

import pytest

from indexer.feed.rate_limit import RateLimit


def test_without_a_limit_everything_is_allowed() -> None:
    assert RateLimit().allowed(500) == 500


def test_the_limit_holds_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("indexer.feed.rate_limit.time.monotonic", lambda: now[0])
    limit = RateLimit(per_second=10)
    sent = 0
    for _ in range(1000):
        now[0] += 0.1
        count = limit.allowed(64)
        limit.spend(count)
        sent += count
    assert 990 <= sent <= 1000


def test_after_a_pause_at_most_two_seconds_worth_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("indexer.feed.rate_limit.time.monotonic", lambda: now[0])
    limit = RateLimit(per_second=10)
    now[0] = 1000.0
    assert limit.allowed(500) == 20


def test_an_overdrawn_bucket_allows_nothing_until_it_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("indexer.feed.rate_limit.time.monotonic", lambda: now[0])
    limit = RateLimit(per_second=3)
    now[0] = 1.0
    assert limit.allowed(100) == 3
    limit.spend(8)  # a page that had to be longer
    assert limit.allowed(100) == 0
    now[0] = 2.0
    assert not limit.allows_any()
    now[0] = 3.0
    assert limit.allows_any()


def test_documents_sent_before_the_limit_was_set_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("indexer.feed.rate_limit.time.monotonic", lambda: now[0])
    limit = RateLimit()
    limit.spend(1_000_000)
    limit.per_second = 10
    now[0] = 2.0
    assert limit.allowed(500) == 20
    limit.spend(-1000)  # of a task that was sent without a limit
    assert limit.allowed(500) == 20
