"""Embeds query texts for the gateway, off its event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.encoder import Encoder
from esblend.encoder.registry import Encoders
from esblend.settings import Settings
from mappings.attachment import ModelIdentity


class QueryEmbedder:
    """One thread computes; PyTorch itself uses several. Loading a model waits in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self._encoders = Encoders(settings, "queries")
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._load = ThreadPoolExecutor(1, thread_name_prefix="load-model")

    async def load(self, name: str) -> Encoder:
        """Raises ModelError when the model cannot be loaded."""
        return await asyncio.get_running_loop().run_in_executor(self._load, self._encoders.load, name)

    async def embed(self, text: str, model: ModelIdentity) -> NDArray[np.float32]:
        """Unit vector of a query text: (dims,), float32. Raises ModelError or EncodingError."""
        loop = asyncio.get_running_loop()
        encoder = await loop.run_in_executor(self._load, self._encoders.matching, model.name, model.digest)
        return await loop.run_in_executor(self._compute, encoder.encode_query, text)

    def close(self) -> None:
        self._compute.shutdown(wait=False, cancel_futures=True)
        self._load.shutdown(wait=False, cancel_futures=True)
