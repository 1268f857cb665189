"""Calibration of each similarity, by hand-computed numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mappings.mean_vectors import mean_of_documents
from query.plan.similarity import SIMILARITY_SCALES, calibration_of

RNG = np.random.default_rng(5)
UNIT = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in RNG.normal(0.5, 1, (6, 1, 8)).astype(np.float32)]
QUERY = UNIT[0][0]


@pytest.mark.parametrize("similarity", ["dot_product", "cosine", "max_inner_product", "l2_norm"])
def test_on_unit_vectors_every_similarity_has_the_same_calibrated_value(similarity: str) -> None:
    mean = mean_of_documents(UNIT, 6, unit=similarity in ("dot_product", "cosine"))
    dots = np.array([float(QUERY @ vector[0]) for vector in UNIT])
    calibration = calibration_of(similarity, QUERY, mean)
    raw = [1 / (1 + (2 - 2 * dot)) if similarity == "l2_norm" else dot for dot in dots]
    expected = (dots - dots.mean()) / (1 - dots.mean())
    assert [calibration.calibrate(value) for value in raw] == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_mean_calibrated_value_is_zero_for_vectors_of_any_length() -> None:
    documents = [rows * scale for rows, scale in zip(UNIT, (1, 2, 3, 0.5, 4, 1), strict=True)]
    mean = mean_of_documents(documents, 6, unit=False)
    for similarity in ("max_inner_product", "l2_norm"):
        calibration = calibration_of(similarity, QUERY, mean)
        values = []
        for [vector] in documents:
            distance = float(((QUERY - vector) ** 2).sum())
            raw = 1 / (1 + distance) if similarity == "l2_norm" else float(QUERY @ vector)
            values.append(calibration.calibrate(raw))
        assert np.mean(values) == pytest.approx(0, abs=1e-5)
    identical = calibration_of("l2_norm", QUERY, mean)
    assert identical.calibrate(1.0) == pytest.approx(1)


def test_without_a_mean_vector_the_dot_product_stays() -> None:
    assert calibration_of("dot_product", QUERY, None).calibrate(0.4) == pytest.approx(0.4)
    assert SIMILARITY_SCALES["dot_product"].raw_dot == "none"


lengths = st.sampled_from([1e-6, 1.0, 1e4])


@given(
    st.sampled_from(sorted(SIMILARITY_SCALES)),
    st.lists(arrays(np.float32, 3, elements=st.integers(-2, 2)), min_size=1, max_size=5),
    arrays(np.float32, 3, elements=st.integers(-2, 2)).filter(np.any),
    lengths,
    lengths,
    st.lists(st.floats(0, 2, width=32), min_size=2, max_size=2).map(sorted),
)
def test_calibrated_values_are_finite_and_monotonic(
    similarity: str, documents: list[Any], query: Any, of_query: float, of_documents: float, scores: list[float]
) -> None:
    """For zero vectors, equal vectors, opposite vectors, and vectors of very different lengths."""
    is_unit = similarity in ("dot_product", "cosine")
    query = query / np.linalg.norm(query) if is_unit else query * np.float32(of_query)
    rows = [(vector * np.float32(of_documents))[None] for vector in documents]
    calibration = calibration_of(similarity, query, mean_of_documents(rows, len(rows), unit=is_unit))
    raw = [SIMILARITY_SCALES[similarity].of_knn(score) for score in scores]
    low, high = (calibration.calibrate(value) for value in raw)
    assert np.isfinite([low, high]).all()
    assert low <= high


@pytest.mark.parametrize("similarity", sorted(SIMILARITY_SCALES))
@pytest.mark.parametrize("length", [1.0, 1000.0])
def test_an_index_of_identical_vectors_gives_their_own_text_about_zero(similarity: str, length: float) -> None:
    """Rounding errors are not amplified."""
    is_unit = similarity in ("dot_product", "cosine")
    vector = (QUERY if is_unit else QUERY * length).astype(np.float32)
    calibration = calibration_of(similarity, vector, mean_of_documents([vector[None]] * 50, 50, unit=is_unit))
    raw = 1.0 if similarity == "l2_norm" else float(np.float32(vector @ vector))
    assert calibration.calibrate(raw) == pytest.approx(0, abs=1e-3)
