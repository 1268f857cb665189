"""Keeps the stored mean vector of each followed index up to date: samples again after enough writes to the index.

sum of global checkpoints (known to the feed) -> enough writes since the last sample? -> sample -> esblend-mean-vectors
"""

import asyncio
import contextlib
from dataclasses import dataclass

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from esblend.elasticsearch_connection import is_passing
from esblend.errors import IndexUnavailable
from mappings.attachment import Attachment
from mappings.mean_vector_store import (
    MEAN_VECTORS_INDEX,
    delete_mean_vector,
    ensure_mean_vectors_index,
    load_mean_vectors,
    mean_vector_id,
    sample_mean_vector,
    store_mean_vector,
)
from mappings.mean_vectors import MeanVector

log = structlog.get_logger()
STORED_FROM = 100
"""Documents with vectors. A smaller index is sampled by the gateways, which read all of it."""
_SHARE = 4
"""A new sample is due after writes to 1 / _SHARE of the documents."""
_RETRY_SECONDS = 30.0
_PAUSES = 50
"""Samples of an index take at most this part of the time. A small index that grows is due for one every few seconds."""


@dataclass(frozen=True)
class Sampled:
    """The last sample of one generation of an index."""

    writes: int
    documents: int

    def is_due(self, writes: int) -> bool:
        """Whether an index with `writes` writes so far should be sampled again. A restored snapshot lowers the number."""
        if self.documents < STORED_FROM:
            return abs(writes - self.writes) >= STORED_FROM - self.documents
        return abs(writes - self.writes) >= max(STORED_FROM, self.documents // _SHARE)


class MeanVectorRefresh:
    """Samples one index at a time, beside the feed's own work. A failure is retried later."""

    def __init__(self, es: AsyncElasticsearch) -> None:
        self._es = es
        self._sampled: dict[str, Sampled] = {}
        self._due: dict[str, tuple[str, str, Attachment, int]] = {}
        """The arguments of `_refresh` for each generation that waits for its sample."""
        self._work: asyncio.Task[None] | None = None
        self._paused: dict[str, float] = {}
        """Until when an index is left alone: its sample failed, and must not keep the others from theirs, or was a moment ago."""

    def consider(self, index: str, uuid: str, generation: str, attachment: Attachment, writes: int) -> None:
        """Note that an index needs a sample, if it does. `writes`: the number of writes to the index since its creation."""
        id_ = mean_vector_id(uuid, generation)
        if self._needs_sample(id_, writes):
            self._due[id_] = (index, uuid, attachment.using(generation), writes)

    def _needs_sample(self, id_: str, writes: int) -> bool:
        last = self._sampled.get(id_)
        return writes >= STORED_FROM and (last is None or last.is_due(writes))

    def leave(self, id_: str) -> None:
        """Take no sample of an index that this process no longer follows."""
        self._due.pop(id_, None)

    def start_next(self) -> None:
        """Start the next sample if none is in progress."""
        is_working = self._work is not None and not self._work.done()
        now = asyncio.get_running_loop().time()
        for id_ in [] if is_working else [id_ for id_ in self._due if now >= self._paused.get(id_, 0.0)]:
            due = self._due.pop(id_)
            if self._needs_sample(id_, due[-1]):  # not if it was considered again during its sample
                self._work = asyncio.create_task(self._refresh(*due))
                return

    async def forget_others(self, keep: set[str], indices: set[str]) -> bool:
        """Delete the stored mean vectors of other generations than `keep`, except those of `indices`. Returns whether that is done:
        a passing error is repeated later."""
        self._sampled = {id_: sampled for id_, sampled in self._sampled.items() if id_ in keep}
        self._paused = {id_: until for id_, until in self._paused.items() if id_ in keep}
        self._due = {id_: due for id_, due in self._due.items() if id_ in keep}
        others = {"must_not": [{"ids": {"values": sorted(keep)}}, {"terms": {"index": sorted(indices)}}]}
        try:
            await self._es.delete_by_query(
                index=MEAN_VECTORS_INDEX, query={"bool": others}, conflicts="proceed", ignore_unavailable=True
            )
        except ApiError as error:  # credentials of an older version have no access to this index
            log.warning("mean vectors of other generations not deleted", cause=str(error)[:300])
            return not is_passing(error)
        return True

    async def stop(self) -> None:
        """Give up the sample in progress."""
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work

    async def _refresh(self, index: str, uuid: str, attachment: Attachment, writes: int) -> None:
        id_ = mean_vector_id(uuid, attachment.active)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            if id_ not in self._sampled:
                stored = await load_mean_vectors(self._es, [id_])
                if id_ in stored:
                    mean, at = stored[id_]
                    self._sampled[id_] = Sampled(at, mean.documents)
                    if not self._sampled[id_].is_due(writes):
                        return
            await self._es.indices.refresh(index=index)  # so that the sample sees every write that was counted
            sample = await sample_mean_vector(self._es, index, attachment)
            if sample is not None and sample.documents >= STORED_FROM:
                await self._store(sample, index, uuid, attachment.active, writes)
            elif id_ in self._sampled and self._sampled[id_].documents >= STORED_FROM:
                # Gateways would use the mean of the deleted documents.
                await delete_mean_vector(self._es, id_)
                log.info("mean vector deleted", index=index, documents=0 if sample is None else sample.documents)
            self._sampled[id_] = Sampled(writes, 0 if sample is None else sample.documents)
            self._paused[id_] = clock() + min(_RETRY_SECONDS, _PAUSES * (clock() - began))
        except (ApiError, TransportError, IndexUnavailable) as error:
            self._paused[id_] = clock() + _RETRY_SECONDS
            if isinstance(error, IndexUnavailable) or is_passing(error):
                self._due.setdefault(id_, (index, uuid, attachment, writes))
            log.warning(
                "mean vector not refreshed", index=index, cause=str(error)[:300], retry_in_seconds=_RETRY_SECONDS
            )

    async def _store(self, sample: MeanVector, index: str, uuid: str, generation: str, writes: int) -> None:
        await ensure_mean_vectors_index(self._es)
        await store_mean_vector(self._es, sample, index=index, uuid=uuid, generation=generation, writes=writes)
        log.info("mean vector stored", index=index, documents=sample.documents, sampled=sample.sampled)
