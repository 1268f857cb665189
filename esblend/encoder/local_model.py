"""A sentence-transformers folder, run on this machine."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.backend import BackendName, Precision, Use, load_backend
from esblend.encoder.folder import ModelFolder
from esblend.encoder.threads import available_threads
from esblend.encoder.tokenizer import TextTokenizer
from esblend.metrics import ENCODER_SECONDS, TOKENS, timed

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


class LocalModel:
    """One batch is computed at a time, tokenising goes on beside it (see `esblend.encoder.model.Model`)."""

    def __init__(self, folder: ModelFolder, options: EncoderOptions) -> None:
        self.folder = folder
        self.name = folder.name
        self.max_tokens = folder.max_tokens
        self.query_prompt, self.document_prompt = folder.query_prompt, folder.document_prompt
        self.similarity, self.shorter_dims = folder.similarity, folder.shorter_dims
        self.precision: str = options.precision
        self.tokenizer = TextTokenizer(folder)
        self.digest = folder.digest()
        self._runtime = load_backend(
            folder,
            digest=self.digest,
            choice=options.backend,
            precision=options.precision,
            use=options.use,
            threads=options.threads or available_threads(),
            token_budget=options.token_budget,
        )
        self.backend = self._runtime.name
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        blocks = []
        for ids in self._tokenized(texts):
            TOKENS.labels(self.name).inc(sum(map(len, ids)))
            with self._lock, timed(ENCODER_SECONDS.labels(self.name)):
                blocks.append(self._runtime.embed(ids))
        return np.concatenate(blocks)

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
