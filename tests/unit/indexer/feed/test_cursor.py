"""The checkpoint advances only over completed work."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.feed.cursor import Cursor


def test_tasks_may_finish_in_any_order() -> None:
    cursor = Cursor(done=-1)
    for until, task in ((9, "a"), (19, "b"), (29, "c")):
        cursor.send(until, [task])
    cursor.finish("c")
    assert cursor.done == -1
    cursor.finish("a")
    assert cursor.done == 9
    cursor.finish("b")
    assert cursor.done == 29


def test_spans_without_work_do_not_delay() -> None:
    cursor = Cursor(done=5)
    cursor.send(7)
    assert cursor.done == 7
    cursor.send(9, ["a"])
    cursor.send(12)
    assert cursor.done == 7
    cursor.finish("a")
    assert cursor.done == 12


def test_a_span_of_several_tasks_is_done_when_all_of_them_are() -> None:
    cursor = Cursor(done=-1)
    cursor.send(0, ["a", "b"])
    cursor.finish("a")
    assert cursor.done == -1
    cursor.finish("b")
    assert cursor.done == 0


def test_only_lost_work_is_sent_again() -> None:
    cursor = Cursor(done=-1)
    for until, task in ((9, "a"), (19, "b"), (29, "c")):
        cursor.send(until, [task])
    cursor.finish("a")
    assert cursor.lose("b") == {"b"}
    cursor.finish("c")
    assert (cursor.done, cursor.sent) == (9, 29)
    [span] = cursor.unsent
    assert (span.after, span.until) == (9, 19)
    cursor.send_again(span, ["d"])
    assert (cursor.done, cursor.unsent) == (9, [])
    cursor.finish("d")
    assert cursor.done == 29


def test_a_lost_span_without_work_left_is_done() -> None:
    cursor = Cursor(done=-1)
    cursor.send(9, ["a"])
    cursor.lose("a")
    cursor.send_again(cursor.unsent[0], [])
    assert cursor.done == 9


def test_losing_a_task_loses_the_others_of_its_span() -> None:
    cursor = Cursor(done=-1)
    cursor.send(0, ["a", "b"])
    assert cursor.lose("a") == {"a", "b"}
    cursor.finish("b")
    assert cursor.done == -1


def test_a_backfill_ends() -> None:
    cursor = Cursor(done=-1, end=9)
    assert not cursor.is_finished
    cursor.send(9, ["a"])
    assert not cursor.is_finished
    cursor.finish("a")
    assert cursor.is_finished


def test_sending_back_is_an_error() -> None:
    with pytest.raises(ValueError, match="back"):
        Cursor(done=5).send(4)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.randoms(use_true_random=False), st.integers(0, 20))
def test_the_checkpoint_never_passes_unfinished_work(steps: list[int], random: Random, finished: int) -> None:
    cursor, until, tasks = Cursor(done=-1), -1, []
    for step in steps:
        until += step
        tasks.append((until, f"t{until}"))
        cursor.send(until, [f"t{until}"])
    order = list(tasks)
    random.shuffle(order)
    for number, (_, task) in enumerate(order[:finished]):
        if number % 3 == 2:
            cursor.lose(task)
        else:
            cursor.finish(task)
    done = {task for number, (_, task) in enumerate(order[:finished]) if number % 3 != 2}
    first_open = min((end for end, task in tasks if task not in done), default=None)
    expected = until if first_open is None else max((end for end, _ in tasks if end < first_open), default=-1)
    assert cursor.done == expected
