"""Positions of the change feed, stored in Elasticsearch: one small document for each generation of an attached index."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from elasticsearch import (
    ApiError,
    AsyncElasticsearch,
    AuthorizationException,
    BadRequestError,
    ConflictError,
    NotFoundError,
)
from elasticsearch.helpers import async_scan
from pydantic import BaseModel, ConfigDict, ValidationError

from esblend.multi_get import existing
from mappings.attachment_copies import CHECKPOINTS_INDEX, attachment_state

log = structlog.get_logger()
FORMAT: Literal[1] = 1
_CLAIMS_PER_REQUEST = 500
_SETTINGS = {"index.hidden": True, "number_of_shards": 1, "auto_expand_replicas": "0-1"}
_PROPERTIES = {"index": {"type": "keyword"}, "uuid": {"type": "keyword"}, "generation": {"type": "keyword"}}
_MAPPINGS = {"dynamic": False, "properties": _PROPERTIES}


class ShardCheckpoint(BaseModel):
    """Every change up to `live` is done, except those that the backfill has not reached yet: (`backfill`, `backfill_end`].

    The positions are valid in one `history` of the shard only. None: written by a version that did not record it.
    """

    model_config = ConfigDict(frozen=True)

    live: int
    backfill: int
    backfill_end: int
    history: str | None = None


class Checkpoint(BaseModel):
    """The state of the feed for one generation of one index."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1] = FORMAT
    index: str
    uuid: str
    generation: str
    owner: str | None = None
    """The feed process that follows the index (see `indexer.feed.leases`)."""
    shards: dict[int, ShardCheckpoint] = {}
    pending_since: float | None = None
    """When the feed first saw the oldest change that is not done (seconds since 1970); None when all are done."""
    paused_because: str | None = None
    """Why the feed does not read this index at the moment; None when it does."""
    updated_at: float = 0
    documents_per_second: float = 0

    @property
    def id(self) -> str:
        return checkpoint_id(self.uuid, self.generation)

    def valid_for(self, histories: Mapping[int, str | None]) -> "Checkpoint":
        """The valid part of this checkpoint: in another history of the shard, no change counts as done."""
        shards = {
            shard: ShardCheckpoint(live=-1, backfill=-1, backfill_end=-1)
            if position.history not in (None, histories.get(shard, position.history))
            else position
            for shard, position in self.shards.items()
        }
        return self.model_copy(update={"shards": shards})


@dataclass(frozen=True)
class Version:
    """The version of a stored checkpoint that was read or written last; a write over any other version is rejected."""

    seq_no: int
    primary_term: int


def checkpoint_id(uuid: str, generation: str) -> str:
    return f"{uuid}-{generation}"


async def ensure_checkpoints_index(es: AsyncElasticsearch) -> None:
    """Create the index with its settings and mapping.

    If somebody deleted it, a write of a feed may have created it again by dynamic mapping. Such an index is changed in place and
    never deleted: another feed may have written its checkpoints to it. Without the privilege to change it, it works as it is.
    """
    try:
        response = await es.indices.get_settings(index=CHECKPOINTS_INDEX, flat_settings=True)
    except NotFoundError:
        await _create(es)
        return
    if response[CHECKPOINTS_INDEX]["settings"].get("index.hidden") == "true":
        return
    changeable = {name: value for name, value in _SETTINGS.items() if name != "number_of_shards"}
    try:
        mapped = await es.indices.get_mapping(index=CHECKPOINTS_INDEX)
        present = mapped[CHECKPOINTS_INDEX]["mappings"].get("properties", {})
        # A present field keeps its type. A missing one would stay without an index: no search would find the checkpoints.
        missing = {name: field for name, field in _PROPERTIES.items() if name not in present}
        await es.indices.put_mapping(index=CHECKPOINTS_INDEX, dynamic="false", properties=missing)
        await es.indices.put_settings(index=CHECKPOINTS_INDEX, settings=changeable)
    except (AuthorizationException, NotFoundError):
        return
    log.warning("checkpoints index was created by dynamic mapping; its settings are corrected", index=CHECKPOINTS_INDEX)


async def _create(es: AsyncElasticsearch) -> None:
    try:
        await es.indices.create(index=CHECKPOINTS_INDEX, settings=_SETTINGS, mappings=_MAPPINGS)
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise


async def load_checkpoint(es: AsyncElasticsearch, uuid: str, generation: str) -> Checkpoint | None:
    """The checkpoint as it was last saved; None when there is none."""
    stored = await load_checkpoints(es, [checkpoint_id(uuid, generation)])
    return next((checkpoint for checkpoint, _ in stored.values()), None)


async def load_checkpoints(es: AsyncElasticsearch, ids: list[str]) -> dict[str, tuple[Checkpoint | None, Version]]:
    """The stored checkpoints among `ids`, each with its version; None in place of one that cannot be parsed.

    Checkpoints of a newer format are left out: only a newer feed may move them. Raises IndexUnavailable when one of them cannot be
    read: the feed must not begin again at the first change.
    """
    if not ids:
        return {}
    try:
        response = await es.mget(index=CHECKPOINTS_INDEX, ids=ids)
    except NotFoundError:
        return {}
    return {
        item["_id"]: (_parse(item), Version(item["_seq_no"], item["_primary_term"]))
        for item in existing(response["docs"], CHECKPOINTS_INDEX)
        if _is_known(item["_source"])
    }


def _parse(item: Mapping[str, Any]) -> Checkpoint | None:
    try:
        return Checkpoint.model_validate(item["_source"])
    except ValidationError as error:
        log.error("damaged checkpoint; its index is read again", checkpoint=item["_id"], faults=error.error_count())
        return None


async def save_checkpoint(
    es: AsyncElasticsearch, checkpoint: Checkpoint, version: Version | None, *, owner: str | None
) -> Version | None:
    """Write only over `version` (None: a new document). Returns the new version; None when another process has written.

    `owner`: this process. A newer version with this owner is its own: the answer to an earlier write was lost. When somebody
    deleted the checkpoint, or the whole index, it is created again.
    """
    try:
        saved = await _write(es, checkpoint, version)
    except BadRequestError:
        # An index that was deleted and created again by dynamic mapping has no room for many shards.
        await ensure_checkpoints_index(es)
        saved = await _write(es, checkpoint, version)
    if saved is not None or version is None:
        return saved
    try:
        stored = await es.get(index=CHECKPOINTS_INDEX, id=checkpoint.id)
    except NotFoundError:
        await ensure_checkpoints_index(es)
        return await _write(es, checkpoint, None)
    if owner is not None and stored["_source"].get("owner") == owner:
        return await _write(es, checkpoint, Version(stored["_seq_no"], stored["_primary_term"]))
    return None


async def save_positions(
    es: AsyncElasticsearch, checkpoint: Checkpoint, shards: Collection[int], version: Version, *, owner: str | None
) -> Version | None:
    """Write as `save_checkpoint` does, but send the positions of `shards` only: Elasticsearch keeps those of the other shards.

    The checkpoint stored as `version` must have the same positions of the other shards.
    """
    changes = checkpoint.model_dump(mode="json", exclude={"shards"})
    changes["shards"] = {str(shard): checkpoint.shards[shard].model_dump() for shard in shards}
    try:
        response = await es.update(index=CHECKPOINTS_INDEX, id=checkpoint.id, doc=changes, **_condition(version))
    except ConflictError:  # written by somebody else, or by this process without an answer
        return await save_checkpoint(es, checkpoint, version, owner=owner)
    except NotFoundError:  # deleted; if the whole index was, this request has created it again by dynamic mapping
        await ensure_checkpoints_index(es)
        return await save_checkpoint(es, checkpoint, version, owner=owner)
    return Version(response["_seq_no"], response["_primary_term"])


async def claim_checkpoints(
    es: AsyncElasticsearch, claims: Sequence[tuple[Checkpoint, Version | None]]
) -> list[Version | None]:
    """Write checkpoints as `save_checkpoint` does, with few requests. None also for a checkpoint that Elasticsearch rejected."""
    versions: list[Version | None] = []
    for start in range(0, len(claims), _CLAIMS_PER_REQUEST):
        operations: list[dict[str, Any]] = []
        for checkpoint, version in claims[start : start + _CLAIMS_PER_REQUEST]:
            operations.append({"index": {"_id": checkpoint.id, **_condition(version)}})
            operations.append(checkpoint.model_dump(mode="json"))
        response = await es.bulk(index=CHECKPOINTS_INDEX, operations=operations)
        items = [next(iter(item.values())) for item in response["items"]]
        versions += [None if "error" in item else Version(item["_seq_no"], item["_primary_term"]) for item in items]
        rejected = [item["error"]["type"] for item in items if item["status"] not in (200, 201, 409)]
        if rejected:
            log.warning("checkpoints not saved", checkpoints=len(rejected), cause=rejected[0])
    return versions


async def _write(es: AsyncElasticsearch, checkpoint: Checkpoint, version: Version | None) -> Version | None:
    document = checkpoint.model_dump(mode="json")
    try:
        response = await es.index(index=CHECKPOINTS_INDEX, id=checkpoint.id, document=document, **_condition(version))
    except ConflictError:
        return None
    return Version(response["_seq_no"], response["_primary_term"])


def _condition(version: Version | None) -> dict[str, Any]:
    if version is None:
        return {"op_type": "create"}
    return {"if_seq_no": version.seq_no, "if_primary_term": version.primary_term}


async def delete_stale_checkpoints(
    es: AsyncElasticsearch, followed: set[str], uuids: set[str], unreadable: set[str]
) -> bool:
    """Delete the checkpoints of dropped generations, and of detached and deleted indices.

    `followed`: the checkpoints to keep. `uuids`: the indices that they belong to. Any other index is asked for by its name first:
    it may be closed, its attachment may have been overwritten, or this role may have lost the right to see it. The
    checkpoints of `unreadable` indices and those of a newer format remain. Returns False when one could not be deleted.
    """
    query = {"bool": {"filter": [{"exists": {"field": "uuid"}}], "must_not": [{"ids": {"values": sorted(followed)}}]}}
    await es.indices.refresh(index=CHECKPOINTS_INDEX)
    hits = async_scan(es, index=CHECKPOINTS_INDEX, query={"query": query, "_source": ["format", "index", "uuid"]})
    candidates = [hit async for hit in hits if _is_known(hit["_source"])]
    operations = [
        {"delete": {"_id": hit["_id"]}}
        for hit in candidates
        if hit["_source"]["uuid"] in uuids or await _is_detached(es, hit["_source"], unreadable)
    ]
    if operations:
        response = await es.bulk(index=CHECKPOINTS_INDEX, operations=operations, refresh=True)
        if response["errors"]:  # one that is deleted already is no error
            failed = next(item["delete"]["error"] for item in response["items"] if "error" in item["delete"])
            log.warning("stale checkpoints not deleted", cause=str(failed.get("reason"))[:300])
            return False
    return True


async def _is_detached(es: AsyncElasticsearch, stored: Mapping[str, Any], unreadable: set[str]) -> bool:
    index = stored.get("index")
    if index is None or index in unreadable:
        return False
    try:
        return await attachment_state(es, index, stored["uuid"]) == "detached"
    except ApiError:
        return False


def _is_known(stored: Mapping[str, Any]) -> bool:
    return bool(stored.get("format", FORMAT) == FORMAT)
