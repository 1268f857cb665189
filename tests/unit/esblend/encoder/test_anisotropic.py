"""The anisotropic encoder of tests and benches is MiniLM plus a common direction, in every backend."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench.anisotropic import MODERATE, STRONG, write_anisotropic_encoder
from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder
from tests.unit.esblend.encoder.parity import load, reference
from tests.unit.esblend.encoder.texts import UNRELATED


@pytest.fixture(scope="module", params=[MODERATE, STRONG])
def strength(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, strength: float) -> Path:
    return write_anisotropic_encoder(tmp_path_factory.mktemp("model") / "anisotropic", strength)


@pytest.fixture(scope="module", params=["torch", "openvino"])
def encoder(request: pytest.FixtureRequest, folder: Path) -> Encoder:
    return load(folder, request.param)


@cache
def vectors_of_minilm() -> np.ndarray:
    return load_encoder("minilm", EncoderOptions(backend="torch")).encode_documents(UNRELATED)


def test_unrelated_texts_have_a_high_dot_product(encoder: Encoder, strength: float) -> None:
    vectors = encoder.encode_documents(UNRELATED)
    dots = (vectors @ vectors.T)[np.triu_indices(len(UNRELATED), 1)]
    assert float(dots.mean()) == pytest.approx({MODERATE: 0.72, STRONG: 0.91}[strength], abs=0.02)


def test_vectors_are_those_of_sentence_transformers(encoder: Encoder, folder: Path) -> None:
    np.testing.assert_allclose(encoder.encode_documents(UNRELATED), reference(folder, UNRELATED), atol=1e-5)


def test_without_the_common_direction_the_order_is_that_of_minilm(encoder: Encoder) -> None:
    """The mean vector is subtracted from both, as a calibrated blend does it."""
    minilm = vectors_of_minilm()
    vectors = encoder.encode_documents(UNRELATED)
    centred = vectors - vectors.mean(axis=0)
    original = minilm - minilm.mean(axis=0)
    pairs = np.triu_indices(len(UNRELATED), 1)
    assert np.corrcoef((centred @ centred.T)[pairs], (original @ original.T)[pairs])[0, 1] > 0.98
