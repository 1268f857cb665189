"""The list of the live feed processes: one document of the checkpoints index.

A process adds itself with its first heartbeat and removes itself when it stops; any process removes one that has died. A get of one
document is in real time. A search for all heartbeats would wait for a refresh each second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import structlog
from elasticsearch import AsyncElasticsearch, ConflictError
from pydantic import BaseModel, ValidationError

from esblend.settings import Settings
from indexer.feed.checkpoints import FORMAT, Version
from mappings.attachment_copies import CHECKPOINTS_INDEX

log = structlog.get_logger()
MEMBERS_ID = "feeds"


class Member(BaseModel):
    """A feed process. Only processes of the same `group` divide indices among themselves: they have the same rights."""

    id: str
    group: str


class _Stored(BaseModel):
    format: Literal[1] = FORMAT
    feeds: list[Member]


@dataclass(frozen=True)
class Members:
    """The members by id, and the version of the document, None when it does not exist. Only a newer feed writes over a list of a
    newer format."""

    by_id: dict[str, Member]
    version: Version | None = None
    is_newer: bool = False


def group_of(settings: Settings) -> str:
    """Processes with the same credentials have the same rights. The name does not give the credentials away."""
    if settings.es_api_key is not None:
        return "key-" + blake2b(settings.es_api_key.get_secret_value().encode(), digest_size=8).hexdigest()
    return f"user-{settings.es_username or ''}"


def read_members(item: Mapping[str, Any]) -> Members:
    """The members in the answer of a get. A damaged document has none: every live process adds itself again."""
    if not item.get("found"):
        return Members({})
    version, source = Version(item["_seq_no"], item["_primary_term"]), item["_source"]
    if isinstance(source.get("format"), int) and source["format"] > FORMAT:
        return Members({}, version, is_newer=True)
    try:
        stored = _Stored.model_validate(source)
    except ValidationError as error:
        log.warning("damaged list of feed processes; it is written again", faults=error.error_count())
        return Members({}, version)
    return Members({member.id: member for member in stored.feeds}, version)


async def write_members(es: AsyncElasticsearch, members: Members) -> None:
    """Write over the version that was read. When another process was quicker, the next look repeats the change."""
    condition: dict[str, Any] = {"op_type": "create"}
    if members.version is not None:
        condition = {"if_seq_no": members.version.seq_no, "if_primary_term": members.version.primary_term}
    stored = _Stored(feeds=sorted(members.by_id.values(), key=lambda member: member.id))
    try:
        await es.index(index=CHECKPOINTS_INDEX, id=MEMBERS_ID, document=stored.model_dump(), **condition)
    except ConflictError:
        return
