"""Ranges become wider where documents are rare, and stay narrow where they are not."""

from itertools import pairwise

from indexer.feed.density import Density


def test_without_experience_a_number_is_a_document() -> None:
    assert Density().width(100) == 100


def test_a_range_is_never_narrower_than_its_documents() -> None:
    density = Density()
    density.learn(width=10, documents=40)  # a shrunk index
    assert density.width(100) == 100


def test_ranges_grow_where_documents_are_rare() -> None:
    """One document in a thousand numbers: after some tasks a range holds about as many as wanted."""
    density = Density()
    widths = []
    for _ in range(20):
        width = density.width(100)
        widths.append(width)
        density.learn(width=width, documents=width // 1000)
    assert all(later <= 4 * earlier for earlier, later in pairwise(widths))
    assert 60_000 < widths[-1] <= 100_000


def test_a_gap_without_documents_is_crossed_in_steps_of_a_million() -> None:
    density, crossed, widths = Density(), 0, []
    while crossed < 10**9:
        widths.append(density.width(32))
        density.learn(width=widths[-1], documents=0)
        crossed += widths[-1]
    assert max(widths) == 1_000_000
    assert len(widths) < 1020


def test_a_range_that_failed_is_sent_again_in_narrower_parts() -> None:
    density = Density()
    for _ in range(20):
        density.learn(width=density.width(100), documents=0)
    widths = [density.width(100)]
    for _ in range(8):
        density.narrow(widths[-1])
        widths.append(density.width(100))
    assert widths[:4] == [1_000_000, 250_000, 62_500, 15_625]
    assert widths[-1] == 100
    density.learn(width=100, documents=0)
    assert density.width(100) == 100


def test_several_tasks_that_fail_at_once_narrow_the_ranges_once() -> None:
    density = Density()
    for _ in range(20):
        density.learn(width=density.width(100), documents=0)
    for _ in range(16):
        density.narrow(1_000_000)
    assert density.width(100) == 250_000


def test_ranges_recover_from_a_lost_task() -> None:
    density = Density()
    for _ in range(20):
        density.learn(width=density.width(100), documents=0)
    density.narrow(1_000_000)
    for _ in range(20):
        density.learn(width=density.width(100), documents=0)
    assert density.width(100) == 1_000_000


def test_a_dense_range_after_a_gap_makes_ranges_narrow_again() -> None:
    density = Density()
    for _ in range(10):
        density.learn(width=100_000, documents=0)
    density.learn(width=200, documents=200)  # the worker stopped there
    density.learn(width=800, documents=200)
    for _ in range(4):
        width = density.width(100)
        density.learn(width=width, documents=width)
    assert density.width(100) < 1000
