"""Recently written documents are left alone for the configured time."""

from indexer.feed.quiet_period import QuietPeriod


def test_without_a_period_everything_is_readable() -> None:
    assert QuietPeriod(0).readable(0, 7, now=100.0) == 7


def test_changes_become_readable_when_they_are_old_enough() -> None:
    quiet = QuietPeriod(10)
    assert quiet.readable(0, 7, now=100.0) == -1
    assert quiet.readable(0, 9, now=105.0) == -1
    assert quiet.readable(0, 9, now=110.0) == 7
    assert quiet.readable(0, 9, now=114.9) == 7
    assert quiet.readable(0, 9, now=115.0) == 9
    assert quiet.readable(1, 9, now=115.0) == -1


def test_steady_writing_needs_little_memory() -> None:
    quiet = QuietPeriod(10)
    readable = [quiet.readable(0, number, now=100 + number / 100) for number in range(5000)]
    assert 3800 <= readable[-1] <= 4000
    assert len(quiet._seen[0]) <= 12


def test_a_new_history_starts_again() -> None:
    quiet = QuietPeriod(10)
    quiet.readable(0, 500, now=100.0)
    assert quiet.readable(0, 500, now=110.0) == 500
    assert quiet.readable(0, 20, now=111.0) == -1
    assert quiet.readable(0, 20, now=121.0) == 20
