"""A stored mean vector is used only if it can be read."""

import base64
from typing import Any

import numpy as np
import pytest

from mappings.mean_vector_store import read_mean_vector


def encoded(*values: float) -> str:
    return base64.b64encode(np.array(values, dtype="<f4").tobytes()).decode()


STORED = {
    "format": 1, "vector": encoded(0.5, -0.25), "mean_squared_norm": 1.0, "sampled": 100, "passages": 120, "documents": 400,
    "writes": 900,
}  # fmt: skip


def test_a_stored_mean_vector_is_read() -> None:
    mean_vector = read_mean_vector(STORED)
    assert mean_vector is not None
    mean, writes = mean_vector
    assert mean.vector.tolist() == [0.5, -0.25]
    assert (mean.sampled, mean.passages, mean.documents, writes) == (100, 120, 400, 900)


@pytest.mark.parametrize(
    "damage",
    [
        {"vector": "?"},
        {"vector": encoded(0.5)[:-3]},
        {"vector": None},
        {"vector": encoded(0.5, float("nan"))},
        {"mean_squared_norm": float("inf")},
        {"documents": 0},
        {"writes": "many"},
    ],
)
def test_a_damaged_one_is_ignored(damage: dict[str, Any]) -> None:
    assert read_mean_vector(STORED | damage) is None


@pytest.mark.parametrize("key", sorted(STORED.keys() - {"format"}))
def test_one_that_lacks_a_field_is_ignored(key: str) -> None:
    assert read_mean_vector({name: value for name, value in STORED.items() if name != key}) is None
