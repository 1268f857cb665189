"""The lag is the age of the oldest change that is not done, also of an index that is never fully caught up."""

from esblend.broker import Lane
from indexer.feed.change_times import ChangeTimes
from indexer.feed.cursor import Cursor

NOW = 10_000.0


def oldest(times: ChangeTimes, *, live: int, backfill: bool = False) -> float | None:
    """With the changes of shard 0 up to `live` done."""
    cursors: dict[Lane, dict[int, Cursor]] = {
        "live": {0: Cursor(done=live)},
        "backfill": {0: Cursor(done=0, end=9)} if backfill else {},
    }
    return times.oldest(cursors, NOW)


def test_the_oldest_change_moves_on_while_new_ones_come() -> None:
    times = ChangeTimes()
    for second in range(100):
        times.note(0, 10 * second, float(second + 1))
    assert oldest(times, live=-1) == 1
    assert oldest(times, live=0) == 2
    assert oldest(times, live=495) == 51
    assert oldest(times, live=990) is None


def test_changes_of_before_this_process_are_as_old_as_the_checkpoint_says() -> None:
    times = ChangeTimes(since=5.0)
    times.note(0, 10, 100.0)
    times.note(0, 20, 101.0)
    assert oldest(times, live=3) == 5
    assert oldest(times, live=10) == 101


def test_a_backfill_waits_since_its_start() -> None:
    times = ChangeTimes()
    times.note(0, 10, 100.0)
    assert oldest(times, live=10, backfill=True) == NOW
    assert oldest(times, live=10, backfill=True) == NOW
    assert oldest(times, live=10) is None


def test_a_new_history_begins_again() -> None:
    times = ChangeTimes(since=5.0)
    times.note(0, 1000, 100.0)
    times.forget(0)
    times.note(0, 7, 200.0)
    assert oldest(times, live=-1) == 200


def test_the_number_of_times_is_bounded_and_no_change_becomes_younger() -> None:
    times = ChangeTimes()
    for number in range(10_000):
        times.note(0, number, float(number + 1))
    assert len(times._seen[0]) <= 256
    for done in range(-1, 9_999, 37):
        seen = oldest(times, live=done)
        assert seen is not None
        assert seen <= done + 2
    assert oldest(times, live=9_998) == 10_000
