"""The workers' own writes are skipped, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from indexer.feed.worker_writes import WorkerWrites


def test_a_run_without_a_gap_is_skipped() -> None:
    writes = WorkerWrites()
    writes.add(0, [(8, 8), (5, 6)])
    assert writes.end_of_run(0, after=4, limit=9) == 6
    assert writes.end_of_run(0, after=4, limit=5) == 5
    assert writes.end_of_run(0, after=6, limit=9) == 6
    assert writes.end_of_run(1, after=4, limit=9) == 4


def test_the_longest_runs_of_a_range_are_given() -> None:
    writes = WorkerWrites()
    writes.add(0, [(3, 3), (5, 5), (6, 6), (9, 12), (20, 20)])
    assert writes.within(0, 2, 20, 10) == [(3, 3), (5, 6), (9, 12), (20, 20)]
    assert writes.within(0, 2, 20, 2) == [(5, 6), (9, 12)]
    assert writes.within(0, 5, 10, 10) == [(6, 6), (9, 10)]
    assert writes.within(1, 2, 20, 10) == []


def test_writes_that_the_cursor_has_passed_are_forgotten() -> None:
    writes = WorkerWrites()
    writes.add(0, [(5, 6), (8, 8)])
    writes.forget_up_to(0, 6)
    assert writes.within(0, -1, 20, 10) == [(8, 8)]
    writes.forget_shard(0)
    assert writes.within(0, -1, 20, 10) == []


@given(st.lists(st.sets(st.integers(0, 60)), max_size=4), st.integers(-1, 60), st.integers(0, 60), st.integers(0, 5))
def test_no_foreign_change_is_ever_skipped(portions: list[set[int]], after: int, limit: int, most: int) -> None:
    writes = WorkerWrites()
    for portion in portions:
        writes.add(0, [(number, number) for number in portion])
    numbers = set().union(*portions)
    end = writes.end_of_run(0, after, limit)
    assert all(number in numbers for number in range(after + 1, end + 1))
    runs = writes.within(0, after, limit, most)
    assert len(runs) <= most
    assert all(
        number in numbers and after < number <= limit for first, last in runs for number in range(first, last + 1)
    )
