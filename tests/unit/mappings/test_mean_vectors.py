"""The mean vector by hand-computed numbers."""

import numpy as np
import pytest

from mappings.mean_vectors import MeanVector, combine, mean_of_documents


def rows(*vectors: tuple[float, float]) -> np.ndarray:
    return np.array(vectors, dtype=np.float32).reshape(len(vectors), 2)


def test_a_document_with_more_passages_counts_once() -> None:
    mean = mean_of_documents([rows((1, 0), (1, 0), (1, 0)), rows((0, 1))], 2, unit=True)
    assert mean is not None
    assert mean.vector.tolist() == [0.5, 0.5]
    assert (mean.sampled, mean.passages, mean.documents, mean.mean_squared_norm) == (2, 4, 2, 1.0)


def test_vectors_compared_by_direction_are_scaled_and_others_are_not() -> None:
    documents = [rows((3, 0)), rows((0, 1))]
    by_direction = mean_of_documents(documents, 2, unit=True)
    as_they_are = mean_of_documents(documents, 2, unit=False)
    assert by_direction is not None
    assert as_they_are is not None
    assert by_direction.vector.tolist() == [0.5, 0.5]
    assert as_they_are.vector.tolist() == [1.5, 0.5]
    assert as_they_are.mean_squared_norm == 5.0


def test_documents_without_vectors_do_not_count() -> None:
    assert mean_of_documents([rows()], 9, unit=True) is None
    mean = mean_of_documents([rows(), rows((1, 0))], 9, unit=True)
    assert mean is not None
    assert (mean.sampled, mean.documents) == (1, 9)


def test_indices_are_weighted_by_their_documents() -> None:
    mean_vector = MeanVector(rows((1, 0))[0], 1.0, 10, 10, documents=300)
    other = MeanVector(rows((0, 1))[0], 2.0, 5, 7, documents=100)
    both = combine([mean_vector, other])
    assert both is not None
    assert both.vector.tolist() == pytest.approx([0.75, 0.25])
    assert both.mean_squared_norm == pytest.approx(1.25)
    assert (both.sampled, both.passages, both.documents) == (15, 17, 400)
    assert combine([]) is None
