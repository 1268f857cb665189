"""The workers' own writes are skipped, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from indexer.feed.worker_writes import WorkerWrites


def test_a_run_without_a_gap_is_skipped() -> None:
    writes = WorkerWrites()
    writes.add(0, {"a": 5, "b": 6, "c": 8})
    assert writes.end_of_run(0, after=4, limit=9) == 6
    assert writes.end_of_run(0, after=4, limit=5) == 5
    assert writes.end_of_run(0, after=6, limit=9) == 6
    assert writes.end_of_run(1, after=4, limit=9) == 4


def test_a_write_is_known_by_shard_number_and_document() -> None:
    writes = WorkerWrites()
    writes.add(0, {"a": 5})
    assert writes.contains(0, 5, "a")
    assert not writes.contains(0, 5, "b")
    assert not writes.contains(0, 6, "a")
    assert not writes.contains(1, 5, "a")
    writes.forget_shard(0)
    assert not writes.contains(0, 5, "a")


@given(st.sets(st.integers(0, 60)), st.integers(-1, 60), st.integers(0, 60))
def test_no_foreign_change_is_ever_skipped(numbers: set[int], after: int, limit: int) -> None:
    writes = WorkerWrites()
    writes.add(0, {f"d{number}": number for number in numbers})
    end = writes.end_of_run(0, after, limit)
    assert all(number in numbers for number in range(after + 1, end + 1))
