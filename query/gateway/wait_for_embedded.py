"""`?wait_for=embedded` on a write: the response is sent once the written documents have the vectors of their current texts.

write -> Elasticsearch, unchanged -> ids in its response -> poll: fingerprints match, vectors exist -> response + "esblend" object
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError
from starlette.types import Scope

from esblend.errors import IndexUnavailable, InvalidRequest
from esblend.multi_get import exists
from mappings.attachment import ADOPTED, DEAD_LETTER, EMBEDDED, Attachment
from mappings.source import expected_vectors, fingerprint, generation_object, stored_vectors
from query.gateway.letters_of_writes import Letters
from query.gateway.routing import url_parameters
from query.gateway.written_documents import Written

_WAIT_FOR = "wait_for"
_EMBEDDED = "embedded"
_FIRST_LOOK_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
_MGET_DOCUMENTS = 500


def asks_to_wait(scope: Scope) -> bool:
    """Whether a write has `wait_for=embedded`."""
    return b"wait_for=" in scope["query_string"] and url_parameters(scope).get(_WAIT_FOR) == _EMBEDDED


def without_wait(scope: Scope) -> Scope:
    """The write as Elasticsearch accepts it, with an uncompressed response.

    Raises InvalidRequest when the response would not name the written documents.
    """
    given = url_parameters(scope)
    if "filter_path" in given:
        raise InvalidRequest("[wait_for=embedded] needs the whole response: remove [filter_path]")
    rest = {name: value for name, value in given.items() if name != _WAIT_FOR}
    return {**scope, "query_string": urlencode(rest).encode(), "headers": without_compression(scope["headers"])}


def without_compression(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers that request an uncompressed response, which the gateway can read."""
    return [pair for pair in headers if pair[0] != b"accept-encoding"]


async def wait_until_embedded(
    es: AsyncElasticsearch,
    attached: Mapping[str, Attachment],
    letters: Letters,
    documents: Iterable[Written],
    *,
    deadline: float,
) -> dict[str, Any]:
    """Poll the documents until each has the vectors of its current text, is a dead letter, or is gone.

    `deadline` in monotonic seconds. Returns `{"embedded", "dead_letters", "not_attached", "pending", "timed_out"}`.
    """
    written = list(documents)
    pending = [document for document in written if document.index in attached]
    counts = {"embedded": 0, "dead_letters": 0, "not_attached": len(written) - len(pending)}
    pause = _FIRST_LOOK_SECONDS
    while pending:
        await asyncio.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(_LONGEST_PAUSE_SECONDS, pause * 1.5)
        unfinished = []
        for start in range(0, len(pending), _MGET_DOCUMENTS):
            part = pending[start : start + _MGET_DOCUMENTS]
            for document, state in zip(part, await _states(es, attached, part), strict=True):
                if state is None:
                    unfinished.append(document)
                elif state:
                    counts["dead_letters" if state == DEAD_LETTER else "embedded"] += 1
        with_letter = await letters.find(attached, unfinished)
        counts["dead_letters"] += len(with_letter)
        pending = [document for document in unfinished if document not in with_letter]
        if time.monotonic() >= deadline:
            break
    return {**counts, "pending": len(pending), "timed_out": bool(pending)}


async def _states(es: AsyncElasticsearch, attached: Mapping[str, Attachment], part: list[Written]) -> list[str | None]:
    """The state of each document: None if it belongs to an earlier text, empty if the document is gone."""
    includes = {
        index: [
            *attachment.source_fields, attachment.fingerprint_field, attachment.state_field, f"{attachment.passages_path}.start"
        ]
        for index, attachment in attached.items()
    }  # fmt: skip
    response = await es.mget(docs=[_item(document, {"includes": includes[document.index]}) for document in part])
    states: list[str | None] = []
    claimed: dict[int, int] = {}
    for number, (document, item) in enumerate(zip(part, response["docs"], strict=True)):
        attachment = attached[document.index]
        source = item.get("_source") or {}
        stored = generation_object(source, attachment.field, attachment.active)
        is_current = stored.get("fingerprint") == fingerprint(source, attachment.source_fields, attachment.generation)
        states.append("" if _is_gone(item, document.index) else stored.get("state") if is_current else None)
        if states[-1] in (EMBEDDED, ADOPTED):
            claimed[number] = expected_vectors(stored, attachment)
    vectors = await _count_vectors(es, attached, [part[number] for number in claimed])
    for number, count in zip(claimed, vectors, strict=True):
        if not count or count != claimed[number]:
            states[number] = None  # a client wrote the document back without its vectors
    return states


def _is_gone(item: Mapping[str, Any], index: str) -> bool:
    try:
        return not exists(item, index)
    except IndexUnavailable:
        return False


async def _count_vectors(
    es: AsyncElasticsearch, attached: Mapping[str, Attachment], documents: list[Written]
) -> list[int]:
    """The number of vectors that each document holds, read in real time: no search sees a write before the next refresh."""
    if not documents:
        return []
    fields = {index: {"includes": [attachment.vector_field]} for index, attachment in attached.items()}
    try:
        docs = [_item(document, {**fields[document.index], "exclude_vectors": False}) for document in documents]
        response = await es.mget(docs=docs)
    except BadRequestError:  # before 9.2 Elasticsearch has no such option, and returns vectors without it
        response = await es.mget(docs=[_item(document, fields[document.index]) for document in documents])
    return [
        len(stored_vectors(item.get("_source") or {}, attached[document.index]))
        for document, item in zip(documents, response["docs"], strict=True)
    ]


def _item(document: Written, source: dict[str, Any]) -> dict[str, Any]:
    # In the body: in the URL, a comma in a field's name splits it, and long names exceed Elasticsearch's 4 KiB.
    routing = {} if document.routing is None else {"routing": document.routing}
    return {"_index": document.index, "_id": document.id, **routing, "_source": source}


async def refresh_if_asked(es: AsyncElasticsearch, scope: Scope, documents: Iterable[Written]) -> None:
    """Refresh again after a write with `refresh`, so that its vectors are searchable as well; only if the caller may refresh."""
    if url_parameters(scope).get("refresh", "false") == "false":
        return
    indices = sorted({document.index for document in documents})
    try:
        await es.indices.refresh(index=indices, ignore_unavailable=True)  # one may have been deleted since the write
    except ApiError as error:
        if error.meta.status != 403:
            raise
