"""The encoder: texts to unit vectors, one contract for workers and gateway.

texts -> tokenizer (a block ahead) -> length-sorted, token-budgeted batches -> backend -> check -> L2 normalise -> vectors
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.backend import BackendName, Precision, Use, load_backend
from esblend.encoder.folder import ModelFolder, find_model
from esblend.encoder.threads import available_threads
from esblend.encoder.tokenizer import TextTokenizer
from esblend.errors import EncodingError

BLOCK_TEXTS = 1024
"""Texts that are tokenised, sorted by length and computed together."""


@dataclass(frozen=True)
class EncoderOptions:
    """How a model is run. `threads` None: what the machine or the container allows."""

    precision: Precision = "exact"
    backend: BackendName = "auto"
    use: Use = "documents"
    threads: int | None = None
    token_budget: int = 2048


class Encoder:
    """A loaded model. Thread-safe: one batch is computed at a time, tokenising goes on beside it.

    On unit vectors a dot product d is the cosine, and the squared Euclidean distance is 2 - 2d.
    """

    def __init__(self, folder: ModelFolder, options: EncoderOptions | None = None) -> None:
        options = options or EncoderOptions()
        self.folder = folder
        self.precision: Precision = options.precision
        self.tokenizer = TextTokenizer(folder)
        self.digest = folder.digest()
        self._backend = load_backend(
            folder,
            digest=self.digest,
            choice=options.backend,
            precision=options.precision,
            use=options.use,
            threads=options.threads or available_threads(),
            token_budget=options.token_budget,
        )
        self._lock = threading.Lock()
        self.dims = int(self._warm_up().shape[0])

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def backend(self) -> str:
        return self._backend.name

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
        vector: NDArray[np.float32] = self.encode_queries([text])[0]
        return vector

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of queries: (len(texts), dims), as `encode_query`."""
        return self._encode([self.folder.query_prompt + text for text in texts])

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self.dims), dtype=np.float32)
        blocks = []
        for ids in self._tokenized(texts):
            with self._lock:
                blocks.append(self._backend.embed(ids))
        return unit_vectors(np.concatenate(blocks))

    def _tokenized(self, texts: Sequence[str]) -> Iterator[list[list[int]]]:
        """Word pieces, a block at a time; the next block is tokenised while the caller computes the one before."""
        if len(texts) <= BLOCK_TEXTS:
            yield self.tokenizer.ids(texts)
            return
        blocks = [texts[start : start + BLOCK_TEXTS] for start in range(0, len(texts), BLOCK_TEXTS)]
        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(self.tokenizer.ids, blocks[0])
            for block in blocks[1:]:
                ready = coming.result()
                coming = ahead.submit(self.tokenizer.ids, block)
                yield ready
            yield coming.result()

    def _warm_up(self) -> NDArray[np.float32]:
        """The first runs are several times slower, so they happen before anyone waits. Gives the vector of a short text."""
        vector: NDArray[np.float32] = unit_vectors(self._backend.embed(self.tokenizer.ids(["esblend warms up"])))[0]
        return vector


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


def load_encoder(name: str, options: EncoderOptions | None = None) -> Encoder:
    """Find, load and warm up a model. Raises ModelError, naming it and the way out."""
    return Encoder(find_model(name), options)
