"""Finds the attached indices of the cluster, and requests the attachment of indices whose mappings ask for it."""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass

import structlog
from elasticsearch import ApiError, AsyncElasticsearch

from esblend.metrics import ATTACHMENT_LOST
from indexer.feed.checkpoints import checkpoint_id, delete_stale_checkpoints
from indexer.feed.metadata_watch import MetadataWatch
from indexer.feed.shard_changes import read_shards
from indexer.feed.task_queue import TaskQueue
from mappings.attachment import Attachment
from mappings.attachment_copies import AttachmentCopies
from mappings.attachment_survey import AttachmentSurvey

log = structlog.get_logger()
REQUEST_AGAIN_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 60.0
_CALM_SECONDS = 5.0
"""Waiting for a change takes several requests, so it is not worthwhile while the cluster state changes more often than this."""
_SHARE = 10
"""Reading all mappings takes at most this part of the time, however often the cluster state changes."""


@dataclass(frozen=True)
class AttachedIndex:
    """One generation of an attached index."""

    index: str
    uuid: str
    generation: str
    attachment: Attachment


class Discovery:
    """The attached indices, by the id of their checkpoint."""

    def __init__(self, es: AsyncElasticsearch, queue: TaskQueue) -> None:
        self.attached: dict[str, AttachedIndex] = {}
        self.unavailable: set[str] = set()
        """Names of attached indices that are closed, or that this role may not monitor."""
        self.changes = 0
        """How often mappings were read because the cluster state had changed."""
        self._es = es
        self._queue = queue
        self._survey = AttachmentSurvey(es)
        self._metadata = MetadataWatch(es)
        self._copies = AttachmentCopies(es)
        self._lost: frozenset[str] = frozenset()
        self.unreadable: set[str] = set()
        self._cleaned_for: frozenset[str] = frozenset()
        """The attached indices for which stale checkpoints were deleted."""
        self._is_clean = True
        """Whether no stale checkpoints are to be deleted until the mappings are read again."""
        self._requested_at: dict[str, float] = {}
        self._cluster_state: str | None = None
        self._changed_at = float("-inf")
        self._read_at = float("-inf")
        self._read_seconds = 0.0

    async def look(self, *, is_at_rest: bool = False) -> bool:
        """Read the mappings if they may have changed; returns whether it read them. Attachments, opened indices and assigned
        shards are all part of the cluster state, so nothing has changed while the state's id is the same.

        `is_at_rest`: no followed index is active. While all attached indices are also open and have their primaries, only a
        change of the metadata matters, and Elasticsearch is asked to answer when there is one.
        """
        since = time.monotonic() - self._read_at
        is_calm = time.monotonic() - self._changed_at >= _CALM_SECONDS
        may_wait = is_at_rest and is_calm and not self._requested_at and not self.unavailable
        if may_wait and self._metadata.is_waiting and since < _LOOK_AGAIN_SECONDS:
            return False
        may_wait = may_wait and await self._metadata.find()
        state = await self._read_cluster_state()
        is_same = state is not None and state == self._cluster_state
        if not is_same:
            self._changed_at = time.monotonic()
        is_due = not is_same or bool(self._requested_at) or since >= _LOOK_AGAIN_SECONDS
        if not is_due and may_wait:
            self._metadata.start()
        if not is_due or since < _SHARE * self._read_seconds:
            return False
        began = time.monotonic()
        survey = await self._survey.read()
        readable = {index: attachment for index, attachment in survey.attachments.items() if attachment}
        shards = await read_shards(self._es, sorted(readable), is_strict=False)
        seconds = time.monotonic() - began
        await self._request_attachments(survey.requesting)
        unreadable = survey.attachments.keys() - readable.keys()
        for index in unreadable - self.unreadable:
            log.warning("attachment of a newer version of esblend; the index is not followed", index=index)
        self.unreadable = unreadable
        attached = {
            checkpoint_id(shards[index].uuid, generation): AttachedIndex(
                index, shards[index].uuid, generation, attachment
            )
            for index, attachment in readable.items()
            if index in shards
            for generation, settings in attachment.generations.items()
            if settings.is_followed
        }
        self.unavailable = readable.keys() - shards.keys()
        self.attached = attached
        self._is_clean = self._cleaned_for == attached.keys()
        await self._save_copies({shards[index].uuid: (index, readable[index]) for index in readable if index in shards})
        # At the end: after an error, the next look reads again.
        self.changes += not is_same
        self._cluster_state, self._read_at, self._read_seconds = state, time.monotonic(), seconds
        return True

    async def delete_stale(self) -> None:
        """Delete the checkpoints of detached indices. Leave these before: a step would save its checkpoint again."""
        if self._is_clean:
            return
        attached = self.attached
        uuids = {index.uuid for index in attached.values()}
        if await delete_stale_checkpoints(self._es, set(attached), uuids, self.unreadable):
            self._cleaned_for = frozenset(attached)
        self._is_clean = True

    async def stop(self) -> None:
        await self._metadata.stop()

    async def _save_copies(self, attached: dict[str, tuple[str, Attachment]]) -> None:
        """Keep copies of all attachments, and report the indices that lost theirs."""
        lost = await self._copies.save(attached)
        for index in lost - self._lost:
            log.error("attachment lost: another client has overwritten _meta", index=index)
        for index in lost | self._lost:
            ATTACHMENT_LOST.labels(index).set(index in lost)
        self._lost = lost

    async def _request_attachments(self, requesting: Collection[str]) -> None:
        """Send tasks that attach the indices whose mappings request it. A task without effect is sent again after a while."""
        now = time.monotonic()
        self._requested_at = {index: self._requested_at.get(index, float("-inf")) for index in requesting}
        for index in requesting:
            if now - self._requested_at[index] > REQUEST_AGAIN_SECONDS:
                await asyncio.to_thread(self._queue.request_attachment, index)
                self._requested_at[index] = now

    async def _read_cluster_state(self) -> str | None:
        """The id of the current cluster state; None when this role may not read it."""
        try:
            response = await self._es.cluster.state(metric="version", filter_path="state_uuid")
        except ApiError as error:
            if error.meta.status == 403:
                return None
            raise
        return str(response["state_uuid"])
