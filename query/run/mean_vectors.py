"""Finds the mean vector of a search's indices: stored by the feed, else sampled with the caller's rights."""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from esblend.errors import IndexUnavailable
from mappings.attachment import Attachment
from mappings.mean_vector_store import SAMPLE_DOCUMENTS, load_mean_vectors, mean_vector_id, sample_mean_vector
from mappings.mean_vectors import MeanVector, combine
from query.targets.metadata import Requester
from query.targets.target import Target

log = structlog.get_logger()
K = TypeVar("K")
V = TypeVar("V")
_FRESH_SECONDS = 3.0
"""How long stored mean vectors, and samples that contain every document, are cached."""
_LARGE_SAMPLE_SECONDS = 600.0
_FAILURE_SECONDS = 30.0
_CACHE_ENTRIES = 1000
_MIN_DOCUMENTS = 2
_MAX_SAMPLED_INDICES = 10
"""Indices that one search samples; further ones without a stored mean vector count as if they were like the others."""


@dataclass(frozen=True)
class Found:
    """The mean vector of a target, and a phrase that says where it comes from."""

    mean: MeanVector | None
    source: str


@dataclass(frozen=True)
class _Cached:
    until: float
    mean: MeanVector | None


class MeanVectors:
    """Mean vectors by index and generation, cached for seconds.

    `own`: the gateway's own client, if it has credentials. It reads esblend's hidden index only, for indices that the caller
    may search. Documents are sampled with the caller's rights.
    """

    def __init__(self, own: AsyncElasticsearch | None) -> None:
        self._own = own
        self._stored: dict[tuple[str, str], _Cached] = {}
        self._sampled: dict[tuple[str, str], _Cached] = {}
        self._denied: dict[str, float] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def of(self, requester: Requester, target: Target, pit: str | None = None) -> Found:
        """The mean vector over all indices of `target`, each weighted by its documents.

        Within a point in time (`pit`) it is the mean of the documents there: scores, and with them cursors, do not change from
        page to page while others write.
        """
        if pit is not None:
            return await self._of_point_in_time(requester, target, pit)
        generation = target.attachment.active
        indices = {
            mean_vector_id(uuid, generation): index for index, uuid in zip(target.indices, target.uuids, strict=True)
        }
        rights = "" if self._own is not None else requester.key
        async with self._lock(requester.key, ",".join(indices)):
            await self._load(requester, rights, list(indices), target.attachment.generation.model.dims)
            stored = [mean for id_ in indices if (mean := _fresh(self._stored, rights, id_)) is not None]
            missing = [id_ for id_ in indices if _fresh(self._stored, rights, id_) is None][:_MAX_SAMPLED_INDICES]
            for id_ in missing:
                await self._sample(requester, id_, indices[id_], target.attachment)
        sampled = [mean for id_ in missing if (mean := _fresh(self._sampled, requester.key, id_)) is not None]
        return _found([*stored, *sampled], len(stored), len(sampled))

    async def _of_point_in_time(self, requester: Requester, target: Target, pit: str) -> Found:
        means: list[MeanVector] = []
        for index in target.indices[:_MAX_SAMPLED_INDICES]:
            id_ = f"{hashlib.sha256(pit.encode()).hexdigest()}-{index}-{target.attachment.active}"
            async with self._lock(requester.key, id_):
                if not _is_known(self._sampled, requester.key, id_):
                    mean = await sample_mean_vector(requester.client(), index, target.attachment, pit=pit)
                    until = time.monotonic() + _LARGE_SAMPLE_SECONDS
                    _keep(self._sampled, (requester.key, id_), _Cached(until, mean))
            if (known := _fresh(self._sampled, requester.key, id_)) is not None:
                means.append(known)
        return _found(means, 0, len(means))

    def _lock(self, rights: str, name: str) -> asyncio.Lock:
        if len(self._locks) >= _CACHE_ENTRIES:
            self._locks = {key: lock for key, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault((rights, name), asyncio.Lock())

    async def _load(self, requester: Requester, rights: str, ids: Sequence[str], dims: int) -> None:
        """Read the stored ones. Callers without access to esblend's hidden index are remembered, and not tried again for a
        while. A vector of another width than `dims` is left over from another model."""
        now = time.monotonic()
        wanted = [id_ for id_ in ids if not _is_known(self._stored, rights, id_)]
        if not wanted or now < self._denied.get(rights, 0.0):
            return
        try:
            stored = await load_mean_vectors(self._own or requester.client(), wanted)
        except (ApiError, TransportError, IndexUnavailable) as error:
            _keep(self._denied, rights, now + _FAILURE_SECONDS)
            log.info("stored mean vectors not readable, sampling instead", cause=str(error)[:200])
            return
        for id_ in wanted:
            mean = stored[id_][0] if id_ in stored else None
            if mean is not None and len(mean.vector) != dims:
                log.warning(
                    "stored mean vector ignored: its width is that of another model", id=id_, width=len(mean.vector)
                )
                mean = None
            _keep(self._stored, (rights, id_), _Cached(now + _FRESH_SECONDS, mean))

    async def _sample(self, requester: Requester, id_: str, index: str, attachment: Attachment) -> None:
        if _is_known(self._sampled, requester.key, id_):
            return
        seconds, mean = _FAILURE_SECONDS, None
        try:
            mean = await sample_mean_vector(requester.client(), index, attachment)
            is_large = mean is not None and mean.documents > SAMPLE_DOCUMENTS
            seconds = _LARGE_SAMPLE_SECONDS if is_large else _FRESH_SECONDS
        except (ApiError, TransportError) as error:
            log.warning("no mean vector: the index cannot be sampled", index=index, cause=str(error)[:200])
        _keep(self._sampled, (requester.key, id_), _Cached(time.monotonic() + seconds, mean))


def _is_known(cache: Mapping[tuple[str, str], _Cached], rights: str, id_: str) -> bool:
    entry = cache.get((rights, id_))
    return entry is not None and time.monotonic() < entry.until


def _fresh(cache: Mapping[tuple[str, str], _Cached], rights: str, id_: str) -> MeanVector | None:
    return cache[rights, id_].mean if _is_known(cache, rights, id_) else None


def _keep(cache: dict[K, V], key: K, value: V) -> None:
    if len(cache) >= _CACHE_ENTRIES:
        cache.clear()
    cache[key] = value


def _found(means: Sequence[MeanVector], stored: int, sampled: int) -> Found:
    """The mean of all. A single document is not a corpus: relative to itself its calibrated value would always be 0."""
    mean = combine(means)
    if mean is None or mean.documents < _MIN_DOCUMENTS:
        return Found(
            None, f"fewer than {_MIN_DOCUMENTS} documents with vectors could be read; the mean similarity is taken as 0"
        )
    return Found(mean, _describe(mean, stored, sampled))


def _describe(mean: MeanVector, stored: int, sampled: int) -> str:
    origin = "stored by the feed" if not sampled else "sampled by the gateway"
    if stored and sampled:
        origin = f"of {stored} indices stored by the feed, of {sampled} sampled by the gateway"
    return f"mean vector of {mean.passages} passages of {mean.sampled} documents, drawn from {mean.documents}; {origin}"
