"""Makes changes of an attachment atomic: no change overwrites another one that it has not read.

Elasticsearch replaces `_meta` as a whole and without a condition. But it rejects a mapping update with all its parts when a field's
`null_value` changes, or when `norms` are enabled again. So a generation's object has a field for each turn, which documents never
contain. Norms are enabled during the turn, and its `null_value` is random:

    turn open    defaults, backfill control: _meta + {turn_1: norms}   rejected if the turn has ended meanwhile
                 any other change: {turn_1: no norms}, then read the attachment again
    turn ended   any change: _meta + {turn_2: norms, random value}     rejected if another change was first

A change that is rejected starts again from the present attachment. Elasticsearch never removes a field and limits their number, so
changes that people make often share a turn. If two changes of defaults or backfill control overlap, the last one is valid.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from elasticsearch import AsyncElasticsearch, BadRequestError

from esblend.errors import ConcurrentChange
from mappings.attachment import META_KEY, Attachment
from mappings.builder import is_claim_conflict, merged, own_generations
from mappings.index_lookup import AttachedIndex, find_attached

_PREFIX = "turn_"
_ATTEMPTS = 20
P = ParamSpec("P")
R = TypeVar("R")


class _OvertakenError(Exception):
    """Another change came between the reading of an attachment and its change."""


def atomic(change: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Start a change again when another one came between. Raises ConcurrentChange after many attempts."""

    @wraps(change)
    async def repeated(*arguments: P.args, **named: P.kwargs) -> R:
        for _ in range(_ATTEMPTS):
            try:
                return await change(*arguments, **named)
            except _OvertakenError as error:
                index = str(error)
        raise ConcurrentChange(
            f"other requests change the attachment of index [{index}] all the time: send this one again later",
            command_line=f"other commands change the attachment of index [{index}] all the time: run this one again later",
        )

    return repeated


async def replace_settings(es: AsyncElasticsearch, attached: AttachedIndex, changed: Attachment) -> None:
    """Write an attachment with other defaults, or with another backfill control. Call it in a function that is `atomic`."""
    turn = _last_turn(attached)
    mark = turn.mark() if turn.is_open else turn.following().mark()
    await _put(es, attached, changed, {}, mark)


async def replace_attachment(
    es: AsyncElasticsearch,
    attached: AttachedIndex,
    changed: Attachment | None,
    additions: Mapping[str, Any] | None = None,
) -> None:
    """Write a changed attachment, or None to remove it, with additional `properties`. Call it in a function that is `atomic`.

    Raises ConcurrentChange when another request has added the same generation with other settings.
    """
    turn = _last_turn(attached)
    if turn.is_open:
        await es.indices.put_mapping(index=attached.index, properties=turn.mark(is_open=False))
        present = await find_attached(es, attached.index)
        if present.attachment != attached.attachment:
            raise _OvertakenError(attached.index)
        attached, turn = present, _last_turn(present)
        if turn.is_open:
            raise _OvertakenError(attached.index)
    await _put(es, attached, changed, additions or {}, turn.following().mark())


async def _put(
    es: AsyncElasticsearch,
    attached: AttachedIndex,
    changed: Attachment | None,
    additions: Mapping[str, Any],
    mark: dict[str, Any],
) -> None:
    meta = {**(attached.mapping.get("_meta") or {})}
    meta.pop(META_KEY, None)
    if changed is not None:
        meta[META_KEY] = changed.to_meta()
    try:
        await es.indices.put_mapping(index=attached.index, meta=meta, properties=merged(dict(additions), mark))
    except BadRequestError as error:
        reason = str(error)
        if f".{_PREFIX}" in reason and "conflict" in reason:
            raise _OvertakenError(attached.index) from error
        if mark and "Limit of total fields" in reason:
            # The mapping has no room for another field. A backfill that cannot be paused would be worse than a lost race.
            await _put(es, attached, changed, additions, {})
            return
        if is_claim_conflict(reason):
            raise concurrent_change(attached.index) from error
        raise


def concurrent_change(index: str) -> ConcurrentChange:
    """The error when another request has changed an attachment with other settings."""
    return ConcurrentChange(
        f"another request changed the attachment of index [{index}] at the same time, with other settings: "
        f"GET /_esblend/indices/{index} shows them",
        command_line=f"another command changed the attachment of index [{index}] at the same time, with other "
        f"settings: esblend status {index} shows the index",
    )


@dataclass(frozen=True)
class _Turn:
    field: str
    generation: str
    """The oldest generation in the mapping: it stays there when it is dropped. Empty when the mapping has none, because somebody
    copied `_meta` alone."""
    number: int
    value: str
    is_open: bool

    def mark(self, *, is_open: bool = True) -> dict[str, Any]:
        """`properties` that are rejected unless this turn is the present one, and open if they leave it open."""
        if not self.generation:
            return {}
        mapping = {"type": "keyword", "index": False, "doc_values": False, "norms": is_open, "null_value": self.value}
        turn = {f"{_PREFIX}{self.number}": mapping}
        return {self.field: {"properties": {self.generation: {"properties": turn}}}}

    def following(self) -> "_Turn":
        return _Turn(self.field, self.generation, self.number + 1, uuid.uuid4().hex, is_open=True)


def _last_turn(attached: AttachedIndex) -> _Turn:
    """The last turn in the mapping of an attached index; number 0 if it has none yet."""
    field = attached.attachment.field
    generations = own_generations((attached.mapping.get("properties") or {}).get(field) or {})
    oldest = min(generations, key=lambda name: int(name[1:]), default="")
    inside = (generations.get(oldest) or {}).get("properties") or {}
    turns = {int(name.removeprefix(_PREFIX)): body for name, body in inside.items() if name.startswith(_PREFIX)}
    number = max(turns, default=0)
    body = turns.get(number) or {}
    return _Turn(field, oldest, number, str(body.get("null_value", "")), bool(body.get("norms", False)))
