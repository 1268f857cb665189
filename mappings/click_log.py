"""The hidden index of clicks on interleaved hits: which side's hit was clicked in which search. It holds no queries and no users.

POST /_esblend/clicks -> esblend-clicks -> searches won by each side -> esblend eval --clicks
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch, BadRequestError, ConflictError, NotFoundError

CLICKS_INDEX = "esblend-clicks"
FORMAT = 1
_SETTINGS = {"index.hidden": True, "number_of_shards": 1, "auto_expand_replicas": "0-1"}
_MAPPINGS = {
    "dynamic": False,
    "properties": {
        "index": {"type": "keyword"},
        "experiment": {"type": "keyword"},
        "search": {"type": "keyword"},
        "side": {"type": "keyword"},
        "time": {"type": "date"},
    },
}
_PAGE = 5_000


@dataclass(frozen=True)
class Click:
    """A click on a hit. `search` is the id that the response of the search gave; `document` is not stored."""

    experiment: str
    search: str
    index: str
    document: str
    side: str

    @property
    def id(self) -> str:
        """The same for every click on the same hit of the same search."""
        parts = "\0".join((self.search, self.index, self.document))
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Tally:
    """An experiment's clicks. Each search with a click is won by the side with more clicked hits, or tied."""

    experiment: str
    clicks: int
    wins_a: int
    wins_b: int
    ties: int


async def add_click(es: AsyncElasticsearch, click: Click) -> bool:
    """Store a click; creates the index if needed. False when the same click is stored already. Raises ApiError."""
    await _ensure_index(es)
    document = {
        "format": FORMAT, "index": click.index, "experiment": click.experiment, "search": click.search, "side": click.side,
        "time": int(time.time() * 1000),
    }  # fmt: skip
    try:
        await es.create(index=CLICKS_INDEX, id=click.id, document=document)
    except ConflictError:
        return False
    return True


async def count_clicks(es: AsyncElasticsearch) -> int:
    try:
        return int((await es.count(index=CLICKS_INDEX))["count"])
    except NotFoundError:
        return 0


async def tally_clicks(es: AsyncElasticsearch, indices: Sequence[str]) -> list[Tally]:
    """The tally of each experiment on `indices`, by name. Raises ApiError."""
    if not indices or not await es.indices.exists(index=CLICKS_INDEX):
        return []
    await es.indices.refresh(index=CLICKS_INDEX)
    clicks, outcomes = Counter[str](), Counter[tuple[str, str]]()
    after: dict[str, Any] | None = None
    while True:
        sources = [{name: {"terms": {"field": name}}} for name in ("experiment", "search")]
        composite: dict[str, Any] = {"size": _PAGE, "sources": sources, **({"after": after} if after else {})}
        searches = {"composite": composite, "aggs": {"a": {"filter": {"term": {"side": "a"}}}}}
        query = {"terms": {"index": list(indices)}}
        response = await es.search(index=CLICKS_INDEX, size=0, query=query, aggs={"searches": searches})
        for experiment, count, of_a in _searches(response["aggregations"]["searches"]["buckets"]):
            clicks[experiment] += count
            outcomes[experiment, _outcome(of_a, count - of_a)] += 1
        after = response["aggregations"]["searches"].get("after_key")
        if after is None:
            break
    return [
        Tally(name, clicks[name], outcomes[name, "a"], outcomes[name, "b"], outcomes[name, "tie"])
        for name in sorted(clicks)
    ]


async def drop_clicks(es: AsyncElasticsearch, indices: Sequence[str]) -> int:
    """Delete the clicks on `indices`; gives their number. Raises ApiError."""
    if not indices or not await es.indices.exists(index=CLICKS_INDEX):
        return 0
    query = {"terms": {"index": list(indices)}}
    response = await es.delete_by_query(index=CLICKS_INDEX, query=query, refresh=True, conflicts="proceed")
    return int(response["deleted"])


def _searches(buckets: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int, int]]:
    """(experiment, clicks, clicks of side a) of each search."""
    for bucket in buckets:
        yield bucket["key"]["experiment"], int(bucket["doc_count"]), int(bucket["a"]["doc_count"])


def _outcome(of_a: int, of_b: int) -> str:
    if of_a == of_b:
        return "tie"
    return "a" if of_a > of_b else "b"


async def _ensure_index(es: AsyncElasticsearch) -> None:
    """Create the index unless it exists. Called before every click, because a write to a deleted index creates it with guessed
    mappings."""
    if await es.indices.exists(index=CLICKS_INDEX):
        return
    try:
        await es.indices.create(index=CLICKS_INDEX, settings=_SETTINGS, mappings=_MAPPINGS)
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise
