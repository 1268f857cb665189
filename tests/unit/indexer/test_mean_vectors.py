"""When the mean vector of an index is sampled again."""

import pytest

from indexer.care.mean_vectors import Sampled


@pytest.mark.parametrize(
    ("last", "writes", "due"),
    [
        (Sampled(writes=100, documents=60), 139, False),
        (Sampled(writes=100, documents=60), 140, True),  # may have 100 documents now
        (Sampled(writes=200, documents=100), 299, False),
        (Sampled(writes=200, documents=100), 300, True),
        (Sampled(writes=2_000_000, documents=1_000_000), 2_249_999, False),
        (Sampled(writes=2_000_000, documents=1_000_000), 2_250_000, True),  # a quarter was written: grown or drifted
        (Sampled(writes=5_000, documents=1_000), 4_000, True),  # a snapshot was restored
    ],
)
def test_a_sample_is_due_after_enough_writes(last: Sampled, writes: int, *, due: bool) -> None:
    assert last.is_due(writes) is due
