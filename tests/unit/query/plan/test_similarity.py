"""Calibration of each similarity, by hand-computed numbers."""

import numpy as np
import pytest

from mappings.mean_vectors import mean_of_documents
from query.plan.similarity import SIMILARITY_SCALES, calibration_of

RNG = np.random.default_rng(5)
UNIT = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in RNG.normal(0.5, 1, (6, 1, 8)).astype(np.float32)]
QUERY = UNIT[0][0]


@pytest.mark.parametrize("similarity", ["dot_product", "cosine", "max_inner_product", "l2_norm"])
def test_on_unit_vectors_every_similarity_has_the_same_calibrated_value(similarity: str) -> None:
    mean = mean_of_documents(UNIT, 6, unit=similarity in ("dot_product", "cosine"))
    dots = np.array([float(QUERY @ one[0]) for one in UNIT])
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
