"""`?wait_for=embedded` on a write: the answer comes when the written documents have the vectors of their present texts.

write -> Elasticsearch, as it is -> ids in its answer -> look until fingerprints match -> the answer, with an "esblend" object
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from elasticsearch import ApiError, AsyncElasticsearch
from starlette.types import Scope

from esblend import exact_json
from esblend.errors import InvalidRequest
from mappings.attachment import DEAD_LETTER, Attachment
from mappings.source import fingerprint, kept
from query.gateway.routing import url_parameters

_WAIT_FOR = "wait_for"
_EMBEDDED = "embedded"
_FIRST_LOOK_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
_MGET_DOCUMENTS = 500


@dataclass(frozen=True)
class Written:
    """One document that a request wrote; `index` is concrete."""

    index: str
    id: str
    routing: str | None


def asks_to_wait(scope: Scope) -> bool:
    """Whether a write has `wait_for=embedded`."""
    return b"wait_for=" in scope["query_string"] and url_parameters(scope).get(_WAIT_FOR) == _EMBEDDED


def without_wait(scope: Scope) -> Scope:
    """The write as Elasticsearch understands it, answered without compression.

    Raises InvalidRequest where the answer would not tell what was written.
    """
    given = url_parameters(scope)
    if "filter_path" in given:
        raise InvalidRequest("[wait_for=embedded] needs the whole answer: leave [filter_path] away")
    rest = {name: value for name, value in given.items() if name != _WAIT_FOR}
    return {**scope, "query_string": urlencode(rest).encode(), "headers": without_compression(scope["headers"])}


def without_compression(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers that ask for an answer that can be read on its way."""
    return [pair for pair in headers if pair[0] != b"accept-encoding"]


def written_changes(answer: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """(concrete index, id, sequence number) of all that a write's answer says was written."""
    items = [result for item in answer["items"] for result in item.values()] if "items" in answer else [answer]
    return [(one["_index"], one["_id"], one["_seq_no"]) for one in items if "_seq_no" in one]


def written_documents(scope: Scope, body: bytes, answer: Mapping[str, Any]) -> list[Written]:
    """What a write's answer says was written; deletions and failures are left out."""
    routing = url_parameters(scope).get("routing")
    if "items" not in answer:
        is_there = answer.get("result") in ("created", "updated", "noop")
        return [Written(answer["_index"], answer["_id"], routing)] if is_there else []
    found: dict[Written, None] = {}
    for action, item in zip(_actions(body), answer["items"], strict=False):
        [(name, result)] = item.items()
        if name != "delete" and result["status"] < 300:
            one = Written(result["_index"], result["_id"], action.get("routing", action.get("_routing", routing)))
            found[one] = None
    return list(found)


def _actions(body: bytes) -> Iterator[dict[str, Any]]:
    """The metadata of each action of a bulk body, in order."""
    lines = iter(body.split(b"\n"))
    for line in lines:
        if not line.strip():
            continue
        [(name, metadata)] = exact_json.loads(line).items()
        if name != "delete":
            next(lines, None)
        yield metadata or {}


async def wait_until_embedded(
    es: AsyncElasticsearch, attached: Mapping[str, Attachment], documents: Iterable[Written], *, deadline: float
) -> dict[str, Any]:
    """Look at the documents until each has the vectors of the text that it has then, is a dead letter, or is gone.

    `deadline` in monotonic seconds. Gives `{"embedded", "dead_letters", "not_attached", "pending", "timed_out"}`.
    """
    waiting = list(documents)
    not_attached = [one for one in waiting if one.index not in attached]
    waiting = [one for one in waiting if one.index in attached]
    counts = {"embedded": 0, "dead_letters": 0, "not_attached": len(not_attached)}
    pause = _FIRST_LOOK_SECONDS
    while waiting:
        await asyncio.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(_LONGEST_PAUSE_SECONDS, pause * 1.5)
        still = []
        for start in range(0, len(waiting), _MGET_DOCUMENTS):
            part = waiting[start : start + _MGET_DOCUMENTS]
            for one, state in zip(part, await _states(es, attached, part), strict=True):
                if state is None:
                    still.append(one)
                elif state:
                    counts["dead_letters" if state == DEAD_LETTER else "embedded"] += 1
        waiting = still
        if time.monotonic() >= deadline:
            break
    return {**counts, "pending": len(waiting), "timed_out": bool(waiting)}


async def _states(es: AsyncElasticsearch, attached: Mapping[str, Attachment], part: list[Written]) -> list[str | None]:
    """For each document its state, if that is of its present text, else None; empty when it is gone."""
    # In the body: in the URL, a comma in a field's name splits it, and long names exceed Elasticsearch's 4 KiB.
    docs = [
        {
            "_index": one.index, "_id": one.id, **({} if one.routing is None else {"routing": one.routing}),
            "_source": {"includes": [
                *attached[one.index].source_fields, attached[one.index].fingerprint_field, attached[one.index].state_field
            ]},
        }
        for one in part
    ]  # fmt: skip
    answer = await es.mget(docs=docs)
    states: list[str | None] = []
    for one, found in zip(part, answer["docs"], strict=True):
        attachment = attached[one.index]
        source = found.get("_source") or {}
        ours = kept(source, attachment.field, attachment.active)
        expected = fingerprint(source, attachment.source_fields, attachment.generation)
        is_current = ours.get("fingerprint") == expected
        states.append("" if not found.get("found") else ours.get("state") if is_current else None)
    return states


async def refresh_if_asked(es: AsyncElasticsearch, scope: Scope, documents: Iterable[Written]) -> None:
    """A write that was to be searchable at once is so with its vectors too, if the caller may refresh."""
    if url_parameters(scope).get("refresh", "false") == "false":
        return
    indices = sorted({one.index for one in documents})
    try:
        await es.indices.refresh(index=indices)
    except ApiError as error:
        if error.meta.status != 403:
            raise
