"""Tasks of a few seconds, and a backfill no faster than it may go."""

import pytest

from indexer.feed.pace import Pace, RateLimit


def test_a_task_begins_small() -> None:
    assert Pace(most=1000).documents == 32
    assert Pace(most=10).documents == 10


@pytest.mark.parametrize(("documents", "seconds", "expected"), [(100, 0.5, 600), (100, 20.0, 16), (1000, 0.01, 1000)])
def test_a_task_is_made_to_take_a_few_seconds(documents: int, seconds: float, expected: int) -> None:
    pace = Pace(most=1000)
    pace.learn(documents, seconds)
    assert pace.documents == expected


def test_one_slow_task_is_not_all_that_counts() -> None:
    pace = Pace(most=1000)
    pace.learn(200, 1.0)
    pace.learn(20, 1.0)
    assert pace.documents == int(146 * 3.0)


def test_tiny_tasks_teach_nothing() -> None:
    pace = Pace(most=1000)
    pace.learn(1, 1.0)
    assert pace.documents == 32


def test_without_a_limit_everything_may_go() -> None:
    assert RateLimit().at_most(500) == 500


def test_a_limit_holds_on_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("indexer.feed.pace.time.monotonic", lambda: now[0])
    limit = RateLimit(per_second=10)
    sent = 0
    for _ in range(1000):
        now[0] += 0.1
        count = limit.at_most(64)
        limit.spend(count)
        sent += count
    assert 990 <= sent <= 1000


def test_after_a_pause_at_most_two_seconds_worth_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("indexer.feed.pace.time.monotonic", lambda: now[0])
    limit = RateLimit(per_second=10)
    now[0] = 1000.0
    assert limit.at_most(500) == 20
