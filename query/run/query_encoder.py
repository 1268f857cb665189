"""Embeds query texts for the gateway, off its event loop: at once when idle, together under load, not at all when known."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from esblend.encoder.registry import Encoders
from esblend.errors import EncodingError
from esblend.settings import Settings
from mappings.attachment import Generation

Vector = NDArray[np.float32]
P = ParamSpec("P")
R = TypeVar("R")
CACHE_ENTRIES = 4096
MAX_BATCH = 32


@dataclass
class _Waiting:
    encoder: Encoder
    form: Form
    text: str
    vector: asyncio.Future[Vector]


class QueryEmbedder:
    """One thread computes; the runtime uses several. Queries that arrive meanwhile form the next batch:
    a query never waits for a batch to fill. Loading a model waits in a separate thread."""

    def __init__(self, settings: Settings) -> None:
        self._encoders = Encoders(settings, "queries")
        self._budget_seconds = settings.query_encoder_budget_seconds
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._load = ThreadPoolExecutor(1, thread_name_prefix="load-model")
        self._known: OrderedDict[tuple[str, Form, str], Vector] = OrderedDict()
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def load(self, name: str) -> Encoder:
        """Raises ModelError when the model cannot be loaded."""
        loaded = self._encoders.loaded(name)
        return loaded if loaded is not None else await _run(self._load, self._encoders.load, name)

    async def embed(self, text: str, generation: Generation) -> Vector:
        """The vector of a query text for a generation: (dims,), float32. Raises ModelError, or EncodingError, also when it takes
        too long."""
        try:
            return await asyncio.wait_for(self._embed(text, generation), self._budget_seconds)
        except TimeoutError as error:
            raise EncodingError(f"the encoder took longer than {self._budget_seconds:g} s") from error

    async def _embed(self, text: str, generation: Generation) -> Vector:
        model, form = generation.searched_by, generation.form
        place = (model.digest, form, text)
        known = self._known.get(place)
        if known is not None:
            self._known.move_to_end(place)
            return known
        await self.load(model.name)
        encoder = self._encoders.matching(model.name, model.digest)
        waiting = _Waiting(encoder, form, text, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        vector = await waiting.vector
        self._known[place] = vector
        if len(self._known) > CACHE_ENTRIES:
            self._known.popitem(last=False)
        return vector

    def describe(self) -> dict[str, dict[str, str]]:
        """How this gateway runs each model that it has loaded; see `Encoder.describe`."""
        return {encoder.name: encoder.describe() for encoder in self._encoders.all()}

    def close(self) -> None:
        self._compute.shutdown(wait=False, cancel_futures=True)
        self._load.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        while self._waiting:
            encoder, form = self._waiting[0].encoder, self._waiting[0].form
            batch = [query for query in self._waiting if query.encoder is encoder and query.form == form][:MAX_BATCH]
            self._waiting = [query for query in self._waiting if query not in batch]
            try:
                vectors = await _run(self._compute, encoder.encode_queries, [query.text for query in batch], form)
            except Exception as error:
                # One text may be at fault: each of several gets its own chance, and its own error.
                await self._one_by_one(batch, error)
                continue
            for query, vector in zip(batch, vectors, strict=True):
                _settle(query, vector)

    async def _one_by_one(self, batch: list[_Waiting], error: Exception) -> None:
        if len(batch) == 1:
            _settle(batch[0], error)
            return
        for query in batch:
            try:
                _settle(query, await _run(self._compute, query.encoder.encode_query, query.text, query.form))
            except Exception as own:
                _settle(query, own)


async def _run(pool: ThreadPoolExecutor, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: function(*arguments, **named))


def _settle(query: _Waiting, outcome: Vector | Exception) -> None:
    if query.vector.done():  # its caller went away
        return
    if isinstance(outcome, Exception):
        query.vector.set_exception(outcome)
    else:
        query.vector.set_result(outcome)
