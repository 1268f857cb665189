"""The checkpoint advances only over completed work."""

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


def test_spans_without_work_do_not_delay() -> None:
    cursor = Cursor(done=5)
    cursor.send(7)
    assert cursor.done == 7
    cursor.send(9, "a")
    cursor.send(12)
    assert cursor.done == 7
    cursor.finish("a")
    assert cursor.done == 12


def test_only_lost_work_is_sent_again() -> None:
    cursor = Cursor(done=-1)
    for until, task in ((9, "a"), (19, "b"), (29, "c")):
        cursor.send(until, task)
    cursor.finish("a")
    cursor.lose("b")
    cursor.finish("c")
    assert (cursor.done, cursor.sent) == (9, 29)
    assert cursor.next_unsent(40) == (9, 19)
    cursor.send(19, "d")
    assert (cursor.done, cursor.unsent) == (9, [])
    cursor.finish("d")
    assert cursor.done == 29
    assert cursor.next_unsent(40) == (29, 40)


def test_lost_work_may_be_sent_again_in_parts() -> None:
    cursor = Cursor(done=-1)
    cursor.send(9, "a")
    cursor.send(19, "b")
    cursor.lose("a")
    cursor.send(4, "c")
    assert cursor.next_unsent(40) == (4, 9)
    cursor.send(9, "d")
    cursor.finish("b")
    cursor.finish("d")
    assert cursor.done == -1
    cursor.finish("c")
    assert cursor.done == 19


def test_a_lost_span_without_work_left_is_done() -> None:
    cursor = Cursor(done=-1)
    cursor.send(9, "a")
    cursor.lose("a")
    cursor.send(9)
    assert cursor.done == 9


def test_the_rest_of_a_task_that_stopped_early_is_unsent() -> None:
    cursor = Cursor(done=-1)
    cursor.send(9, "a")
    cursor.send(19, "b")
    cursor.finish("a", until=3)
    assert (cursor.done, cursor.next_unsent(40)) == (3, (3, 9))
    cursor.finish("b", until=19)
    assert cursor.done == 3
    cursor.send(9, "c")
    cursor.finish("c")
    assert cursor.done == 19


def test_a_task_that_did_nothing_is_unsent_as_a_whole() -> None:
    cursor = Cursor(done=-1)
    cursor.send(9, "a")
    cursor.finish("a", until=-1)
    assert (cursor.done, cursor.next_unsent(9)) == (-1, (-1, 9))


def test_finished_spans_behind_one_that_always_fails_need_little_memory() -> None:
    cursor = Cursor(done=-1)
    cursor.send(9, "fails")
    for number in range(1000):
        cursor.lose("fails")
        cursor.send(9, "fails")
        cursor.send(20 * number + 19, "a")
        cursor.send(20 * number + 29, "b" if number % 2 else None)
        for task in ("b", "a"):
            cursor.finish(task)
    assert (cursor.done, len(cursor.spans)) == (-1, 2)
    cursor.finish("fails")
    assert (cursor.done, len(cursor.spans)) == (cursor.sent, 0)


def test_a_backfill_ends() -> None:
    cursor = Cursor(done=-1, end=9)
    assert not cursor.is_finished
    cursor.send(9, "a")
    assert not cursor.is_finished
    cursor.finish("a")
    assert cursor.is_finished


def test_sending_back_is_an_error() -> None:
    with pytest.raises(ValueError, match="back"):
        Cursor(done=5).send(4)


STEPS = st.lists(st.tuples(st.sampled_from(["send", "finish", "stop", "lose"]), st.integers(0, 7)), max_size=60)


@given(STEPS)
def test_every_change_is_held_done_or_unsent(steps: list[tuple[str, int]]) -> None:
    """Whatever the order of results: each change is done, or in exactly one task, or sent later."""
    cursor, limit = Cursor(done=-1), 30
    open_tasks: dict[str, set[int]] = {}
    done: set[int] = set()
    for number, (step, size) in enumerate(steps):
        tasks = sorted(open_tasks)
        if step == "send":
            unsent = cursor.next_unsent(limit)
            if unsent is not None:
                until = min(unsent[1], unsent[0] + size + 1)
                cursor.send(until, f"t{number}")
                open_tasks[f"t{number}"] = set(range(unsent[0] + 1, until + 1))
        elif tasks:
            task = tasks[size % len(tasks)]
            changes = open_tasks.pop(task)
            if step == "lose":
                cursor.lose(task)
                changes = set()
            elif step == "stop":
                reached = min(changes) - 1 + size % (len(changes) + 1)
                cursor.finish(task, reached)
                changes = {change for change in changes if change <= reached}
            else:
                cursor.finish(task)
            done |= changes
        held = [change for changes in open_tasks.values() for change in changes]
        unsent_now = {n for span in cursor.unsent for n in range(span.after + 1, span.until + 1)}
        assert len(held) == len(set(held))
        assert set(held) | unsent_now | done == set(range(cursor.sent + 1))
        assert not done & (set(held) | unsent_now)
        assert cursor.done == next((n for n in range(limit + 1) if n not in done), limit + 1) - 1
