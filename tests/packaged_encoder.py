"""The packaged model, loaded once in each test process."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.encoder import Encoder, EncoderOptions, load_encoder


@cache
def packaged_encoder() -> Encoder:
    return load_encoder("minilm", EncoderOptions(threads=1))


_vectors: dict[str, NDArray[np.float32]] = {}


def vectors_of(texts: Sequence[str]) -> NDArray[np.float32]:
    """Their document vectors, one row each. Many tests write the same texts, so each text is encoded once."""
    new = [text for text in dict.fromkeys(texts) if text not in _vectors]
    _vectors.update(zip(new, packaged_encoder().encode_documents(new), strict=True))
    return np.array([_vectors[text] for text in texts])
