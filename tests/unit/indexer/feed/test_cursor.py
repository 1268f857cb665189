"""The checkpoint only moves over work that is done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.feed.cursor import Cursor


def test_tasks_may_finish_in_any_order() -> None:
    cursor = Cursor(done=-1)
    for until, task in ((9, "a"), (19, "b"), (29, "c")):
        cursor.send(until, task)
    cursor.finish("c")
    assert cursor.done == -1
    cursor.finish("a")
    assert cursor.done == 9
    cursor.finish("b")
    assert cursor.done == 29


def test_spans_without_work_do_not_hold_it_up() -> None:
    cursor = Cursor(done=5)
    cursor.send(7, None)
    assert cursor.done == 7
    cursor.send(9, "a")
    cursor.send(12, None)
    assert cursor.done == 7
    cursor.finish("a")
    assert cursor.done == 12


def test_forgotten_work_is_sent_again() -> None:
    cursor = Cursor(done=-1)
    cursor.send(9, "a")
    cursor.send(19, "b")
    cursor.finish("a")
    cursor.forget_unfinished()
    assert (cursor.done, cursor.sent) == (9, 9)
    cursor.finish("b")
    assert cursor.done == 9


def test_a_backfill_ends() -> None:
    cursor = Cursor(done=-1, end=9)
    assert not cursor.is_finished
    cursor.send(9, "a")
    assert not cursor.is_finished
    cursor.finish("a")
    assert cursor.is_finished


def test_going_back_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="back"):
        Cursor(done=5).send(4, None)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.randoms(use_true_random=False), st.integers(0, 20))
def test_the_checkpoint_never_passes_unfinished_work(steps: list[int], random: object, finished: int) -> None:
    cursor, until, tasks = Cursor(done=-1), -1, []
    for step in steps:
        until += step
        tasks.append((until, f"t{until}"))
        cursor.send(*tasks[-1])
    order = list(tasks)
    random.shuffle(order)  # type: ignore[attr-defined]
    for _, task in order[:finished]:
        cursor.finish(task)
    open_tasks = order[finished:]
    first_open = min((end for end, _ in open_tasks), default=None)
    expected = until if first_open is None else max((end for end, _ in tasks if end < first_open), default=-1)
    assert cursor.done == expected
