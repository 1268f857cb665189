"""Advice weighs what a migration saves."""

from mappings.advice import Option, is_good_enough

SMALL = Option("bbq_hnsw", 3.0, 10 * 2**20, 0, 0.99)


def test_a_migration_that_saves_little_is_not_advised() -> None:
    assert is_good_enough(Option("int8_hnsw", None, 11 * 2**20, 0, 0.99), SMALL)
    assert not is_good_enough(Option("int8_hnsw", None, 200 * 2**20, 0, 0.99), SMALL)


def test_poor_recall_is_worth_a_migration() -> None:
    assert not is_good_enough(Option("bbq_hnsw", None, 11 * 2**20, 0, 0.7), SMALL)
