"""How far the change feed is, kept in Elasticsearch: one small document for each attached index and generation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from elasticsearch import AsyncElasticsearch, BadRequestError, ConflictError, NotFoundError
from elasticsearch.helpers import async_scan
from pydantic import BaseModel, ConfigDict

from mappings.attachment_copies import CHECKPOINTS_INDEX, attachment_state

FORMAT: Literal[1] = 1
_SETTINGS = {"index.hidden": True, "number_of_shards": 1, "auto_expand_replicas": "0-1"}
_MAPPINGS: dict[str, Any] = {
    "dynamic": False,
    "properties": {
        "index": {"type": "keyword"},
        "uuid": {"type": "keyword"},
        "generation": {"type": "keyword"},
    },
}


class ShardCheckpoint(BaseModel):
    """Up to `live` every change is done, but for those that a backfill has still to bring: (`backfill`, `backfill_end`]."""

    live: int
    backfill: int
    backfill_end: int


class Checkpoint(BaseModel):
    """The state of the feed for one generation of one index."""

    model_config = ConfigDict(extra="ignore")

    format: Literal[1] = FORMAT
    index: str
    uuid: str
    generation: str
    owner: str | None = None
    """The feed process that follows it (see `indexer.feed.leases`)."""
    shards: dict[int, ShardCheckpoint] = {}
    pending_since: float | None = None
    """When the feed first saw the oldest change that is not done (seconds since 1970); None when all are."""
    updated_at: float = 0
    documents_per_second: float = 0

    @property
    def id(self) -> str:
        return checkpoint_id(self.uuid, self.generation)


@dataclass(frozen=True)
class Version:
    """Which version of a stored checkpoint was read or written; only its holder may write the next."""

    seq_no: int
    primary_term: int


def checkpoint_id(uuid: str, generation: str) -> str:
    return f"{uuid}-{generation}"


async def ensure_checkpoints_index(es: AsyncElasticsearch) -> None:
    if await es.indices.exists(index=CHECKPOINTS_INDEX):
        return
    try:
        await es.indices.create(index=CHECKPOINTS_INDEX, settings=_SETTINGS, mappings=_MAPPINGS)
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise


async def load_checkpoint(es: AsyncElasticsearch, uuid: str, generation: str) -> Checkpoint | None:
    """The checkpoint as it was last saved; None when there is none."""
    found = await load_checkpoints(es, [checkpoint_id(uuid, generation)])
    return next((checkpoint for checkpoint, _ in found.values()), None)


async def load_checkpoints(es: AsyncElasticsearch, ids: list[str]) -> dict[str, tuple[Checkpoint, Version]]:
    """Those of `ids` that are stored, each with its version; not those of a newer format, which are a newer feed's to move."""
    if not ids:
        return {}
    try:
        answer = await es.mget(index=CHECKPOINTS_INDEX, ids=ids)
    except NotFoundError:
        return {}
    return {
        found["_id"]: (
            Checkpoint.model_validate(found["_source"]),
            Version(found["_seq_no"], found["_primary_term"]),
        )
        for found in answer["docs"]
        if found.get("found") and _is_known(found["_source"])
    }


async def save_checkpoint(es: AsyncElasticsearch, checkpoint: Checkpoint, version: Version | None) -> Version | None:
    """Write over `version` (None: where there is none yet) and no other; gives the new version, None when someone else wrote."""
    condition: dict[str, Any] = (
        {"if_seq_no": version.seq_no, "if_primary_term": version.primary_term} if version else {"op_type": "create"}
    )
    try:
        answer = await es.index(
            index=CHECKPOINTS_INDEX, id=checkpoint.id, document=checkpoint.model_dump(mode="json"), **condition
        )
    except ConflictError:
        return None
    return Version(answer["_seq_no"], answer["_primary_term"])


async def delete_checkpoints_but(
    es: AsyncElasticsearch, keep: set[str], attached: set[str], unreadable: set[str]
) -> None:
    """Delete the checkpoints of detached and deleted indices and of dropped generations.

    Those in `keep`, those of `unreadable` indices and those of a newer format remain. An index that is not in `attached` is
    checked first: its attachment may have been overwritten, or this user may have lost the right to read it.
    """
    excluded = [{"ids": {"values": sorted(keep)}}, {"terms": {"index": sorted(unreadable)}}]
    query = {"bool": {"filter": [{"exists": {"field": "uuid"}}], "must_not": excluded}}
    await es.indices.refresh(index=CHECKPOINTS_INDEX)
    hits = async_scan(es, index=CHECKPOINTS_INDEX, query={"query": query, "_source": ["format", "index", "uuid"]})
    operations = []
    async for hit in hits:
        index, uuid = hit["_source"]["index"], hit["_source"]["uuid"]
        if _is_known(hit["_source"]) and (index in attached or await attachment_state(es, index, uuid) == "detached"):
            operations.append({"delete": {"_id": hit["_id"]}})
    if operations:
        await es.bulk(index=CHECKPOINTS_INDEX, operations=operations, refresh=True)


def _is_known(stored: Mapping[str, Any]) -> bool:
    return bool(stored.get("format", FORMAT) == FORMAT)
