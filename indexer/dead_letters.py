"""Dead letters for people: list and show them, ask for another try, or give them up.

The request is written into the letter; the feed turns it into a task, and the worker takes the letter away when it is done.
So nothing is lost with Redis, and a document is only ever written by a worker.
"""

from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch, NotFoundError

from esblend.broker import DocumentRef
from mappings.dead_letters import DEAD_LETTERS_INDEX

_MOST = 1000


@dataclass(frozen=True)
class Request:
    """A letter for which a person asked something."""

    letter: str
    action: str
    index: str
    uuid: str
    generation: str
    document: DocumentRef


async def list_letters(
    es: AsyncElasticsearch, *, index: str | None = None, id_: str | None = None, size: int = 100
) -> dict[str, Any]:
    """`{"total", "dead_letters": [...]}`, newest first, of one index or document or all."""
    try:
        answer = await es.search(
            index=DEAD_LETTERS_INDEX,
            query=_query(index, id_),
            sort=[{"time": "desc"}, {"id": "asc"}],
            size=min(size, _MOST),
            track_total_hits=True,
        )
    except NotFoundError:  # there never was one
        return {"total": 0, "dead_letters": []}
    return {
        "total": answer["hits"]["total"]["value"],
        "dead_letters": [hit["_source"] for hit in answer["hits"]["hits"]],
    }


async def ask(es: AsyncElasticsearch, action: str, *, index: str | None = None, id_: str | None = None) -> int:
    """Ask for `action` (retry or drop) on all letters that match; gives their number."""
    try:
        answer = await es.update_by_query(
            index=DEAD_LETTERS_INDEX,
            query=_query(index, id_),
            script={"source": "ctx._source.action = params.action", "params": {"action": action}},
            conflicts="proceed",
            refresh=True,
        )
    except NotFoundError:
        return 0
    return int(answer["updated"])


async def requests(es: AsyncElasticsearch) -> list[Request]:
    """What people asked for and no worker has done yet."""
    answer = await es.search(
        index=DEAD_LETTERS_INDEX,
        query={"exists": {"field": "action"}},
        size=_MOST,
        ignore_unavailable=True,
        expand_wildcards=["open", "hidden"],
    )
    found = []
    for hit in answer["hits"]["hits"]:
        letter = hit["_source"]
        document = DocumentRef(id=letter["id"], seq_no=-1, routing=letter.get("routing"))
        found.append(
            Request(hit["_id"], letter["action"], letter["index"], letter["uuid"], letter["generation"], document)
        )
    return found


async def discard(es: AsyncElasticsearch, letters: list[str]) -> None:
    """Delete letters whose index is gone or no longer attached."""
    operations = [{"delete": {"_id": letter}} for letter in letters]
    if operations:
        await es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True)


def _query(index: str | None, id_: str | None) -> dict[str, Any]:
    terms = {"index": index, "id": id_}
    return {"bool": {"filter": [{"term": {key: value}} for key, value in terms.items() if value is not None]}}
