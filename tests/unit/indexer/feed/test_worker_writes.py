"""The workers' own writes are passed over, and nothing else is."""

from hypothesis import given
from hypothesis import strategies as st

from indexer.feed.worker_writes import OwnWrites


def test_a_run_without_a_gap_is_passed_over() -> None:
    own = OwnWrites()
    own.add(0, {"a": 5, "b": 6, "c": 8})
    assert own.end_of_run(0, after=4, limit=9) == 6
    assert own.end_of_run(0, after=4, limit=5) == 5
    assert own.end_of_run(0, after=6, limit=9) == 6
    assert own.end_of_run(1, after=4, limit=9) == 4


def test_a_change_is_own_by_shard_number_and_document() -> None:
    own = OwnWrites()
    own.add(0, {"a": 5})
    assert own.is_own(0, 5, "a")
    assert not own.is_own(0, 5, "b")
    assert not own.is_own(0, 6, "a")
    assert not own.is_own(1, 5, "a")


@given(st.sets(st.integers(0, 60)), st.integers(-1, 60), st.integers(0, 60))
def test_no_foreign_change_is_ever_passed_over(own_numbers: set[int], after: int, limit: int) -> None:
    own = OwnWrites()
    own.add(0, {f"d{number}": number for number in own_numbers})
    end = own.end_of_run(0, after, limit)
    assert all(number in own_numbers for number in range(after + 1, end + 1))
