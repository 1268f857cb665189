"""A sentence-transformers folder that runs on this machine."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.backend import BackendName, Precision, Use
from esblend.encoder.backend_choice import load_backend
from esblend.encoder.model_folder import ModelFolder
from esblend.encoder.threads import available_threads
from esblend.encoder.tokenizer import load_tokenizer
from esblend.metrics import ENCODER_SECONDS, TOKENS, timed

BLOCK_TEXTS = 1024
"""Texts that are tokenised, sorted by length and computed together."""


@dataclass(frozen=True)
class EncoderOptions:
    """How a model runs. None: as many threads as the machine or the container allows, and a budget that suits the device."""

    precision: Precision = "exact"
    backend: BackendName = "auto"
    use: Use = "documents"
    threads: int | None = None
    token_budget: int | None = None


class LocalModel:
    """See `esblend.encoder.model.Model`. Computes one batch at a time while it tokenises the next one."""

    def __init__(self, folder: ModelFolder, options: EncoderOptions) -> None:
        self.folder = folder
        self.name = folder.name
        self.max_tokens = folder.max_tokens
        self.query_prompt, self.document_prompt = folder.query_prompt, folder.document_prompt
        self.similarity, self.shorter_dims = folder.similarity, folder.shorter_dims
        self.tokenizer = load_tokenizer(folder)
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
        self.backend, self.detail = self._backend.name, self._backend.detail
        self.precision: str = self._backend.precision

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `esblend.encoder.model.Model`. A text without any word piece gets a zero vector."""
        blocks = []
        for ids in self._tokenized(texts):
            TOKENS.labels(self.name).inc(sum(map(len, ids)))
            # Some tokenizers add no special tokens, so an empty text has no word piece and no backend can compute it.
            filled = [position for position, pieces in enumerate(ids) if pieces]
            pieces = [ids[position] for position in filled] or [[0]]
            with timed(ENCODER_SECONDS.labels(self.name)):
                vectors = self._backend.embed(pieces)
            if len(filled) < len(ids):
                block = np.zeros((len(ids), vectors.shape[1]), dtype=np.float32)
                block[filled] = vectors[: len(filled)]
                vectors = block
            blocks.append(vectors)
        return np.concatenate(blocks)

    def _tokenized(self, texts: Sequence[str]) -> Iterator[list[list[int]]]:
        """Word pieces, a block at a time. A thread tokenises the next block while the caller computes the current one."""
        if len(texts) <= BLOCK_TEXTS:
            yield self.tokenizer.ids(texts)
            return
        blocks = [texts[start : start + BLOCK_TEXTS] for start in range(0, len(texts), BLOCK_TEXTS)]
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(self.tokenizer.ids, blocks[0])
            for block in blocks[1:]:
                ids = future.result()
                future = executor.submit(self.tokenizer.ids, block)
                yield ids
            yield future.result()
