"""Operators' requests on dead letters: list them, retry them, drop them.

The request is stored in the letter. The feed sends a task for it, and the worker deletes the letter when the task is done. So
the loss of Redis loses no request, and only workers write documents.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from elasticsearch import AsyncElasticsearch, NotFoundError

from esblend.broker import DocumentRef
from esblend.multi_get import existing
from mappings.dead_letter_index import DEAD_LETTERS_INDEX, FORMAT

log = structlog.get_logger()
_MOST = 1000
MOST_REQUESTS = 1000
FROM_START = -1
"""The position before the first request."""


@dataclass(frozen=True)
class Request:
    """A letter with a requested action."""

    letter: str
    action: str
    index: str
    uuid: str
    generation: str
    document: DocumentRef
    position: int = FROM_START


async def list_letters(
    es: AsyncElasticsearch, indices: Sequence[str], id_: str | None = None, size: int = 100
) -> dict[str, Any]:
    """`{"total", "dead_letters": [...]}`, newest first, of the given indices, optionally of one document."""
    try:
        response = await es.search(
            index=DEAD_LETTERS_INDEX,
            query=_query(indices, id_),
            sort=[{"time": "desc"}, {"id": "asc"}],
            size=min(size, _MOST),
            track_total_hits=True,
        )
    except NotFoundError:  # no dead letter was ever written
        return {"total": 0, "dead_letters": []}
    return {
        "total": response["hits"]["total"]["value"],
        "dead_letters": [hit["_source"] for hit in response["hits"]["hits"]],
    }


async def indices_of_letters(es: AsyncElasticsearch) -> list[str]:
    """The indices that have dead letters, at most ten thousand."""
    try:
        aggregations = {"indices": {"terms": {"field": "index", "size": 10_000}}}
        response = await es.search(index=DEAD_LETTERS_INDEX, size=0, aggregations=aggregations)
    except NotFoundError:
        return []
    return [bucket["key"] for bucket in response["aggregations"]["indices"]["buckets"]]


async def request_action(es: AsyncElasticsearch, action: str, indices: Sequence[str], id_: str | None = None) -> int:
    """Request `action` (retry or drop) on all matching letters; returns their number."""
    try:
        response = await es.update_by_query(
            index=DEAD_LETTERS_INDEX,
            query=_query(indices, id_),
            script={"source": "ctx._source.action = params.action", "params": {"action": action}},
            conflicts="proceed",
            refresh=True,
        )
    except NotFoundError:
        return 0
    return int(response["updated"])


async def requests(es: AsyncElasticsearch, after: int = FROM_START) -> tuple[list[Request], int]:
    """The oldest requests after a position that no worker has completed yet, at most a thousand; and the position of the last one,
    or `FROM_START` when there are no more. An index of one shard has a sequence number for each request."""
    response = await es.search(
        index=DEAD_LETTERS_INDEX,
        query={"bool": {"filter": [{"exists": {"field": "action"}}, {"range": {"_seq_no": {"gt": after}}}]}},
        sort=[{"_seq_no": "asc"}],
        size=MOST_REQUESTS,
        ignore_unavailable=True,
        expand_wildcards=["open", "hidden"],
    )
    hits = response["hits"]["hits"]
    letters = []
    for hit in hits:
        letter = hit["_source"]
        if letter.get("format", FORMAT) != FORMAT:
            continue  # for a newer feed
        try:
            document = DocumentRef(id=letter["id"], seq_no=-1, routing=letter.get("routing"))
            names = (letter["action"], letter["index"], letter["uuid"], letter["generation"])
            letters.append(Request(hit["_id"], *names, document, position=hit["sort"][0]))
        except (KeyError, ValueError) as error:
            log.error("damaged dead letter; its request is ignored", letter=hit["_id"], cause=type(error).__name__)
    return letters, hits[-1]["sort"][0] if len(hits) == MOST_REQUESTS else FROM_START


async def unfinished(es: AsyncElasticsearch, letters: Collection[str]) -> set[str]:
    """The letters, by id, whose request no worker has completed yet, among `letters`."""
    if not letters:
        return set()
    response = await es.mget(index=DEAD_LETTERS_INDEX, ids=sorted(letters), source_includes=["action"])
    return {item["_id"] for item in existing(response["docs"], DEAD_LETTERS_INDEX) if "action" in item["_source"]}


async def discard(es: AsyncElasticsearch, letters: list[str]) -> None:
    """Delete letters whose index was deleted or detached."""
    operations = [{"delete": {"_id": letter}} for letter in letters]
    if operations:
        await es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True)


def _query(indices: Sequence[str], id_: str | None) -> dict[str, Any]:
    one_document = [] if id_ is None else [{"term": {"id": id_}}]
    return {"bool": {"filter": [{"terms": {"index": list(indices)}}, *one_document]}}
