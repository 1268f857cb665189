"""Which tasks count as lost."""

from typing import Any

from esblend.broker import Lane
from indexer.feed.lost_tasks import GRACE_SECONDS, LostTasks, QueueView, SentTask


def sent(at: float, lane: Lane = "live") -> SentTask:
    return SentTask(lane, 0, -1, 9, 10, at)


def view(waiting: int, *living: str, **holders: str) -> QueueView:
    return QueueView(holders, frozenset(living), {"live": waiting, "backfill": waiting})


def test_a_task_of_a_dead_worker_is_lost_at_once_whatever_is_queued() -> None:
    tasks = {"a": sent(100), "b": sent(101)}
    lost = LostTasks(900).look(tasks, view(5000, "w2", a="w1", b="w2"), now=102)
    assert lost == {"a": "its worker is gone"}


def test_a_task_that_waits_in_a_long_queue_is_not_lost() -> None:
    watch = LostTasks(900)
    tasks = {"a": sent(100), "b": sent(101)}
    assert not any(watch.look(tasks, view(300), now=100 + second) for second in range(0, 890, 2))


def test_the_age_of_a_task_counts_from_its_arrival_at_a_worker() -> None:
    watch = LostTasks(900)
    tasks = {"a": sent(100)}
    assert not watch.look(tasks, view(300), now=950)
    assert not watch.look(tasks, view(300, "w", a="w"), now=980)
    assert not watch.look(tasks, view(300, "w", a="w"), now=1880)
    assert watch.look(tasks, view(300, "w", a="w"), now=1881) == {"a": "its worker does not finish it"}


def test_a_task_that_nobody_holds_is_lost_when_the_queue_is_empty() -> None:
    watch = LostTasks(900)
    tasks = {"a": sent(100)}
    assert not watch.look(tasks, view(0), now=101)
    assert not watch.look(tasks, view(0), now=100.5 + GRACE_SECONDS)
    assert watch.look(tasks, view(0), now=101 + GRACE_SECONDS) == {"a": "it left the queue"}


def test_a_task_that_was_overtaken_in_its_lane_is_lost() -> None:
    watch = LostTasks(900)
    tasks = {"a": sent(100), "other lane": sent(100, "backfill"), "b": sent(101)}
    assert not watch.look(tasks, view(300, "w", b="w"), now=102)
    del tasks["b"]  # finished
    assert watch.look(tasks, view(300, "w"), now=102 + GRACE_SECONDS) == {"a": "it left the queue"}


def test_a_queue_without_workers_does_not_fill_with_repetitions() -> None:
    watch = LostTasks(900)
    tasks: dict[str, SentTask] = {f"t{number}": sent(100 + number) for number in range(16)}
    repeated = 0
    for now in range(102, 36_100, 20):
        for task in watch.look(tasks, view(16), now=now):
            repeated += 1
            del tasks[task]
            tasks[f"{task}+"] = sent(now)
    assert repeated <= 40  # in ten hours


def test_nineteen_indices_on_one_worker_repeat_nothing() -> None:
    """A worker that needs 3 s a task, 16 tasks in flight for each of 19 indices: each waits for 912 s."""
    watch = LostTasks(900)
    tasks: dict[str, Any] = {f"{index}-{number}": sent(100.0) for number in range(16) for index in range(19)}
    queue = list(tasks)
    repeated = 0
    for turn in range(2400):  # two hours
        now = 100 + 3.0 * turn
        current = queue.pop(0)
        repeated += len(watch.look(tasks, view(len(queue), "w", **{current: "w"}), now))
        if current in tasks:
            del tasks[current]
            tasks[f"{current}'"] = sent(now)
            queue.append(f"{current}'")
    assert repeated <= 8
