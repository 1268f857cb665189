"""Copies of attachments in esblend's own index, from which an attachment is restored when another client overwrites `_meta`.

The feed saves a copy of each attachment under the index's uuid, and deletes it once the index is detached or deleted. An index that
has a copy, but no attachment, has lost it.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import structlog
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError
from elasticsearch.helpers import async_scan

from mappings.attachment import META_KEY, Attachment, is_attached, read_attachment
from mappings.builder import has_lost_attachment

log = structlog.get_logger()
FORMAT: Literal[1] = 1
CHECKPOINTS_INDEX = "esblend-checkpoints"
_COPIES_PER_REQUEST = 500


class AttachmentCopies:
    """Keeps the copies up to date. Several feeds may run this at once: they write the same content."""

    def __init__(self, es: AsyncElasticsearch) -> None:
        self._es = es
        self._saved: dict[str, tuple[str, Attachment]] = {}
        self._searched: frozenset[str] | None = None
        """The attached uuids at the last search for lost attachments, if every copy was of one of them; else None."""

    async def save(self, attached: Mapping[str, tuple[str, Attachment]]) -> frozenset[str]:
        """`attached`: (index, attachment) by the index's uuid. Returns the names of the indices that lost their attachment."""
        changed = [uuid for uuid, saved in attached.items() if self._saved.get(uuid) != saved]
        failed: set[str] = set()
        for start in range(0, len(changed), _COPIES_PER_REQUEST):
            failed |= await self._write({uuid: attached[uuid] for uuid in changed[start : start + _COPIES_PER_REQUEST]})
        self._saved = {uuid: saved for uuid, saved in attached.items() if uuid not in failed}
        return await self._find_lost(attached.keys())

    async def _write(self, changed: Mapping[str, tuple[str, Attachment]]) -> set[str]:
        """Write copies in one request with one refresh. Returns the uuids that Elasticsearch rejected; they are repeated later."""
        operations: list[dict[str, Any]] = []
        for uuid, (index, attachment) in changed.items():
            copy = {"format": FORMAT, "copy_of": uuid, "index": index, "attachment": attachment.to_meta()}
            operations += [{"index": {"_id": copy_id(uuid)}}, copy]
        response = await self._es.bulk(index=CHECKPOINTS_INDEX, operations=operations, refresh=True)
        results = zip(changed, response["items"], strict=True)
        failed = {uuid: item["index"]["error"] for uuid, item in results if "error" in item["index"]}
        if failed:
            log.warning(
                "copies of attachments not saved", copies=len(failed), cause=next(iter(failed.values()))["type"]
            )
        return set(failed)

    async def _find_lost(self, attached: Collection[str]) -> frozenset[str]:
        if self._searched == frozenset(attached):
            return frozenset()  # with the same attachments, no index has lost one
        # Checkpoints have a uuid; the few other documents of this index are copies and heartbeats.
        query = {"query": {"bool": {"must_not": [{"exists": {"field": "uuid"}}]}}, "_source": ["copy_of", "index"]}
        sources = [hit["_source"] async for hit in async_scan(self._es, index=CHECKPOINTS_INDEX, query=query)]
        known = {"", *attached}
        unattached = [source for source in sources if source.get("copy_of", "") not in known]
        self._searched = None if unattached else frozenset(attached)
        lost: set[str] = set()
        for copy in unattached:
            state = await attachment_state(self._es, copy["index"], copy["copy_of"])
            if state == "lost":
                lost.add(copy["index"])
            elif state == "detached":
                await self._delete(copy["copy_of"])
        return frozenset(lost)

    async def _delete(self, uuid: str) -> None:
        try:
            await self._es.delete(index=CHECKPOINTS_INDEX, id=copy_id(uuid))
        except NotFoundError:
            return


async def attachment_state(
    es: AsyncElasticsearch, index: str, uuid: str
) -> Literal["attached", "lost", "detached", "unknown"]:
    """The state of one index, which was attached before. Detached: also deleted, or created again with another uuid.
    Unknown: this user has no right to read it."""
    try:
        response = await es.indices.get(index=index, features=["mappings", "settings"])
    except NotFoundError:
        return "detached"
    except ApiError as error:
        if error.meta.status == 403:
            return "unknown"
        raise
    body = response.body.get(index)
    if body is None or body["settings"]["index"]["uuid"] != uuid:
        return "detached"
    if is_attached(body["mappings"]):
        return "attached"
    return "lost" if has_lost_attachment(body["mappings"]) else "detached"


async def read_copy(es: AsyncElasticsearch, uuid: str) -> Attachment | None:
    """The copy of the attachment of the index with this uuid; None when there is none. Raises InvalidRequest when this version
    cannot read it."""
    try:
        response = await es.get(index=CHECKPOINTS_INDEX, id=copy_id(uuid))
    except NotFoundError:
        return None
    return read_attachment({"_meta": {META_KEY: response["_source"]["attachment"]}})


def copy_id(uuid: str) -> str:
    return f"attachment-{uuid}"
