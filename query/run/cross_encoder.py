"""Runs cross-encoders for the gateway in a thread, batch by batch, within a time budget."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.cross_encoder import BATCH, CrossEncoder
from esblend.encoder.threads import available_threads
from esblend.errors import BudgetSpent, InvalidRequest
from esblend.plugins import RERANKERS, find, kind_and_name
from esblend.settings import Settings

ELASTICSEARCH_DEFAULT = ".rerank-v1-elasticsearch"
"""The inference endpoint that Elasticsearch takes when a request names none."""


class RelevanceModel(Protocol):
    """What the entry points `esblend.rerankers` give: `factory(name, settings)` for a model named `<entry point>:<name>`."""

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """Relevance of each text: (len(texts),), larger is better. Raises ModelError."""
        ...


class Reranker:
    """One thread computes; models are loaded at first use and kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="rerank")
        self._models: dict[str, RelevanceModel] = {}

    async def scores(self, model: str | None, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text from 0 to 1. Raises InvalidRequest when there is no such
        model, ModelError, or BudgetSpent. Loading a model does not count."""
        name = self._settings.reranker
        if name is None:
            raise InvalidRequest("no cross-encoder is configured: set ESBLEND_RERANKER of the gateway to a model")
        if model not in (None, name, ELASTICSEARCH_DEFAULT):
            raise InvalidRequest(f"no cross-encoder is called [{model}]; this gateway has [{name}]")
        loop = asyncio.get_running_loop()
        encoder = await loop.run_in_executor(self._compute, self._load, name)
        seconds = self._settings.reranker_budget_seconds
        deadline = time.monotonic() + seconds
        scores: list[float] = []
        order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
        for start in range(0, len(order), BATCH):
            batch = [texts[position] for position in order[start : start + BATCH]]
            seconds_left = deadline - time.monotonic()
            computing = loop.run_in_executor(self._compute, encoder.scores, query, batch)
            try:
                scores += (await asyncio.wait_for(asyncio.shield(computing), max(0.0, seconds_left))).tolist()
            except TimeoutError as error:
                computing.add_done_callback(lambda done: done.exception())
                raise BudgetSpent(f"no result within {seconds:g} s; the first-stage order is kept") from error
        by_position = dict(zip(order, scores, strict=True))
        return [by_position[position] for position in range(len(texts))]

    def close(self) -> None:
        self._compute.shutdown(wait=False, cancel_futures=True)

    def _load(self, name: str) -> RelevanceModel:
        if name not in self._models:
            kind, model = kind_and_name(name)
            self._models[name] = (
                CrossEncoder(name, threads=self._settings.encoder_threads or available_threads())
                if kind is None
                else find(RERANKERS, kind)(model, self._settings)
            )
        return self._models[name]
