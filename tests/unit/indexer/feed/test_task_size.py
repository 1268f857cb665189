"""Tasks take a few seconds, whatever the model and the documents."""

import pytest

from indexer.feed.task_size import TaskSize


def test_the_first_tasks_are_small_and_few() -> None:
    assert TaskSize(1000).documents == 32
    assert TaskSize(10).documents == 10
    assert TaskSize(1000).max_in_flight(16) == 4


@pytest.mark.parametrize(("documents", "seconds", "expected"), [(100, 0.5, 600), (100, 20.0, 16), (1000, 0.01, 1000)])
def test_the_size_follows_the_speed_of_encoding(documents: int, seconds: float, expected: int) -> None:
    size = TaskSize(1000)
    size.learn(documents=documents, written=documents, seconds=seconds)
    assert size.documents == expected
    assert size.max_in_flight(16) == 16


def test_a_slow_task_counts_with_those_before() -> None:
    size = TaskSize(1000)
    size.learn(documents=200, written=200, seconds=1.0)
    size.learn(documents=20, written=20, seconds=1.0)
    assert size.documents == int(146 * 3.0)


def test_tiny_tasks_are_ignored() -> None:
    size = TaskSize(1000)
    size.learn(documents=1, written=1, seconds=1.0)
    assert size.documents == 32


def test_unchanged_documents_let_tasks_grow_step_by_step() -> None:
    size = TaskSize(1000)
    sizes = []
    for _ in range(6):
        size.learn(documents=size.documents, written=0, seconds=0.05)
        sizes.append(size.documents)
    assert sizes == [64, 128, 256, 512, 1000, 1000]
    assert size.max_in_flight(16) == 4


def test_the_first_changed_documents_after_unchanged_ones_make_tasks_small_again() -> None:
    size = TaskSize(1000)
    for _ in range(6):
        size.learn(documents=size.documents, written=0, seconds=0.05)
    size.learn(documents=1000, written=1000, seconds=100.0)
    assert size.documents == 30
    assert size.max_in_flight(16) == 16


def test_tasks_of_a_backfill_are_longer_until_little_remains() -> None:
    size = TaskSize(1000)
    assert size.of_backfill(100_000, workers=2) == 256  # the worker ends them when they take long
    assert size.of_backfill(200, workers=2) == 50
    assert size.of_backfill(20, workers=2) == size.documents == 32
    size.learn(documents=40, written=40, seconds=1.0)
    assert size.of_backfill(100_000, workers=2) == 320
    assert size.of_backfill(800, workers=2) == 200
    assert size.of_backfill(100, workers=2) == size.documents == 120
    size.learn(documents=1000, written=1000, seconds=1.0)
    assert size.of_backfill(100_000, workers=1) == 1000
