"""The encoder: texts to unit vectors, one contract for workers and gateway.

texts -> tokenizer -> length-sorted, token-budgeted batches -> backend -> check -> L2 normalise -> vectors
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.batches import token_batches
from esblend.encoder.folder import ModelFolder, find_model
from esblend.encoder.threads import available_threads
from esblend.encoder.tokenizer import TextTokenizer
from esblend.errors import EncodingError


class Encoder:
    """A loaded model. Thread-safe: one forward pass at a time, tokenising beside it.

    On unit vectors a dot product d is the cosine, and the squared Euclidean distance is 2 - 2d.
    """

    def __init__(self, folder: ModelFolder, *, threads: int | None = None, token_budget: int = 4096) -> None:
        # PyTorch takes seconds to import: only who encodes pays for it.
        from esblend.encoder.torch_backend import TorchModel

        self.folder = folder
        self.tokenizer = TextTokenizer(folder)
        self.digest = folder.digest()
        self._budget = token_budget
        self._model = TorchModel(folder, threads=threads or available_threads())
        self._lock = threading.Lock()
        # Warms the kernels up, and tells the width after pooling and dense layers.
        self.dims = int(self.encode_query("esblend").shape[0])

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def max_tokens(self) -> int:
        """Longest input in word pieces, special tokens included."""
        return self.folder.max_tokens

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of document texts: (len(texts), dims), float32, in the order given.

        What exceeds `max_tokens` word pieces is cut, so split long texts first.
        Raises EncodingError with the positions of texts whose vector is NaN, infinite or zero.
        """
        prompt = self.folder.document_prompt
        return self._encode([prompt + text for text in texts] if prompt else texts)

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Unit vector of one query: (dims,), float32. Raises EncodingError as `encode_documents` does."""
        vector: NDArray[np.float32] = self._encode([self.folder.query_prompt + text])[0]
        return vector

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dims), dtype=np.float32)
        ids = self.tokenizer.ids(texts)
        rows: list[NDArray[np.float32] | None] = [None] * len(texts)
        for batch in token_batches([len(row) for row in ids], self._budget):
            with self._lock:
                vectors = self._model.embed([ids[position] for position in batch])
            for position, vector in zip(batch, vectors, strict=True):
                rows[position] = vector
        return unit_vectors(np.stack([row for row in rows if row is not None]))


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of `vectors` (n, dims) scaled to Euclidean length 1.

    Raises EncodingError, with the positions, when a row is NaN, infinite or zero.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms < 1e-12))
    if bad.size:
        raise EncodingError(
            f"the model gave a NaN, infinite or zero vector for text number {bad.tolist()} of its batch"
        )
    scaled: NDArray[np.float32] = (vectors / norms[:, None]).astype(np.float32)
    return scaled


def load_encoder(name: str, *, threads: int | None = None, token_budget: int = 4096) -> Encoder:
    """Find, load and warm up a model. Raises ModelError, naming it and the way out."""
    return Encoder(find_model(name), threads=threads, token_budget=token_budget)
