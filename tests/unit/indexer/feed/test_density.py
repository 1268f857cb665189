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


def test_a_gap_without_documents_is_crossed_in_few_steps() -> None:
    density, crossed, steps = Density(), 0, 0
    while crossed < 10**9:
        width = density.width(32)
        density.learn(width=width, documents=0)
        crossed += width
        steps += 1
    assert steps < 20


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
