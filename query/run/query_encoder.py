"""Embeds query texts for the gateway, off its event loop: at once when idle, together under load, not at all when known."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from esblend.encoder.registry import Encoders
from esblend.errors import EncodingError, InvalidRequest, TooManyRequests
from esblend.settings import Settings
from mappings.attachment import Generation

Vector = NDArray[np.float32]
P = ParamSpec("P")
R = TypeVar("R")
CACHE_ENTRIES = 4096
MAX_BATCH = 32
MAX_CHARACTERS = 100_000
"""The most characters of one text. A model reads its first few hundred word pieces only."""
_NEWEST = 0.2
"""Weight of the newest batch in the moving average of seconds per text."""
_MOST_OF_BUDGET = 0.5
"""The queue may take this share of the budget; one batch may always wait. The estimate is rough, and a vector that comes too late
is lost work."""
_Key = tuple[str, Form, bytes]
"""Digest of the model's files, form of the text, and hash of the text: the cache does not hold long texts."""


@dataclass
class _Query:
    """A text that waits for its vector, and the number of callers that still want it."""

    key: _Key
    encoder: Encoder
    form: Form
    text: str
    vector: asyncio.Future[Vector]
    callers: int = 0


class QueryEmbedder:
    """One thread computes; the runtime uses several. Queries that arrive during a batch form the next one:
    a query never waits for a batch to fill. Equal texts are embedded once. A text whose callers have all left is not embedded,
    and a text that would wait longer than half the budget is refused at once. Loading a model waits in a separate thread."""

    def __init__(self, settings: Settings) -> None:
        self._encoders = Encoders(settings, "queries")
        self._budget_seconds = settings.query_encoder_budget_seconds
        self._compute = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._load = ThreadPoolExecutor(1, thread_name_prefix="load-model")
        self._known: OrderedDict[_Key, Vector] = OrderedDict()
        self._waiting: dict[_Key, _Query] = {}
        self._computing: dict[_Key, _Query] = {}
        self._seconds_per_text = 0.0
        self._worker: asyncio.Task[None] | None = None

    @property
    def has_room(self) -> bool:
        """Whether a new text would be embedded in time."""
        expected = (len(self._waiting) + len(self._computing)) * self._seconds_per_text
        return len(self._waiting) < MAX_BATCH or expected <= self._budget_seconds * _MOST_OF_BUDGET

    def refuse_when_full(self, texts: Sequence[str], generation: Generation) -> None:
        """Raises TooManyRequests if `embed` would refuse one of the texts now, so that nothing is requested for the search."""
        if self.has_room:
            return
        for key in (_key_of(text, generation) for text in texts):
            if key not in self._known and key not in self._waiting and key not in self._computing:
                raise self._refusal()

    async def load(self, name: str) -> Encoder:
        """Raises ModelError when the model cannot be loaded."""
        loaded = self._encoders.loaded(name)
        return loaded if loaded is not None else await _run(self._load, self._encoders.load, name)

    async def embed(self, text: str, generation: Generation) -> Vector:
        """The vector of a query text for a generation: (dims,), float32. Raises ModelError, InvalidRequest for a text that is too
        long, TooManyRequests when the queue is too long, or EncodingError, also when it takes too long."""
        if len(text) > MAX_CHARACTERS:
            raise InvalidRequest(f"a text to embed has {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
        try:
            async with asyncio.timeout(self._budget_seconds):
                return await self._embed(text, generation)
        except TimeoutError as error:
            raise EncodingError(f"the encoder took longer than {self._budget_seconds:g} s") from error

    async def _embed(self, text: str, generation: Generation) -> Vector:
        model, form = generation.searched_by, generation.form
        key = _key_of(text, generation)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        await self.load(model.name)
        query = self._computing.get(key) or self._waiting.get(key)
        if query is None:
            if not self.has_room:
                raise self._refusal()
            encoder = self._encoders.matching(model.name, model.digest, model.probe)
            query = _Query(key, encoder, form, text, asyncio.get_running_loop().create_future())
            self._waiting[key] = query
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work())
        query.callers += 1
        try:
            return await asyncio.shield(query.vector)
        finally:
            query.callers -= 1
            if not query.callers and self._waiting.get(key) is query:
                del self._waiting[key]

    def describe(self) -> dict[str, dict[str, str]]:
        """How this gateway runs each model that it has loaded; see `Encoder.describe`."""
        return {encoder.name: encoder.describe() for encoder in self._encoders.all()}

    def close(self) -> None:
        self._compute.shutdown(wait=False, cancel_futures=True)
        self._load.shutdown(wait=False, cancel_futures=True)

    def _refusal(self) -> TooManyRequests:
        expected = (len(self._waiting) + len(self._computing)) * self._seconds_per_text
        return TooManyRequests(
            f"{len(self._waiting)} texts wait to be embedded, about {expected:.1f} s of work; a search waits at most"
            f" {self._budget_seconds:g} s for its vector; try again later"
        )

    async def _work(self) -> None:
        while self._waiting:
            first = next(iter(self._waiting.values()))
            alike = (
                query for query in self._waiting.values() if (query.encoder, query.form) == (first.encoder, first.form)
            )
            self._computing = {query.key: query for query in islice(alike, MAX_BATCH)}
            for key in self._computing:
                del self._waiting[key]
            await self._compute_batch(list(self._computing.values()))
            self._computing = {}

    async def _compute_batch(self, batch: list[_Query]) -> None:
        began = time.perf_counter()
        texts = [query.text for query in batch]
        try:
            vectors = await _run(self._compute, batch[0].encoder.encode_queries, texts, batch[0].form)
        except Exception as error:
            # One text may be at fault: each of several gets its own chance, and its own error.
            await self._one_by_one(batch, error)
            return
        seconds = (time.perf_counter() - began) / len(batch)
        self._seconds_per_text += _NEWEST * (seconds - self._seconds_per_text)
        for query, vector in zip(batch, vectors, strict=True):
            self._settle(query, vector)

    async def _one_by_one(self, batch: list[_Query], error: Exception) -> None:
        if len(batch) == 1:
            self._settle(batch[0], error)
            return
        for query in batch:
            if not query.callers:
                continue
            try:
                self._settle(query, await _run(self._compute, query.encoder.encode_query, query.text, query.form))
            except Exception as own:
                self._settle(query, own)

    def _settle(self, query: _Query, outcome: Vector | Exception) -> None:
        if not isinstance(outcome, Exception):
            query.vector.set_result(outcome)
            self._known[query.key] = outcome
            if len(self._known) > CACHE_ENTRIES:
                self._known.popitem(last=False)
        elif query.callers:
            query.vector.set_exception(outcome)


def _key_of(text: str, generation: Generation) -> _Key:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return generation.searched_by.digest, generation.form, digest


def mean_of(vectors: Sequence[Vector], *, is_unit: bool) -> Vector:
    """The mean of query vectors, (dims,) each. `is_unit`: the mean has the length 1. Opposite vectors have no mean direction;
    the first vector then represents all."""
    if len(vectors) == 1:
        return vectors[0]
    mean: Vector = np.stack(vectors).mean(axis=0, dtype=np.float32)
    length = float(np.linalg.norm(mean))
    if not is_unit:
        return mean
    return (mean / length).astype(np.float32) if length > 1e-6 else vectors[0]


async def _run(pool: ThreadPoolExecutor, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: function(*arguments, **named))
