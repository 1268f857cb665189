"""Reads changes from Elasticsearch: how far each shard is, and which documents changed since."""

from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch, NotFoundError

from esblend.broker import DocumentRef

_MAX_URL_CHARACTERS = 3000
"""Elasticsearch refuses a request line of more than 4 KiB."""


@dataclass(frozen=True)
class IndexShards:
    """An index by its uuid, with the global checkpoint of each of its primary shards."""

    uuid: str
    global_checkpoints: dict[int, int]

    @property
    def writes(self) -> int:
        """Operations on the index in all its life: sequence numbers begin at 0 on each shard."""
        return sum(checkpoint + 1 for checkpoint in self.global_checkpoints.values())


async def read_shards(es: AsyncElasticsearch, indices: list[str]) -> dict[str, IndexShards]:
    """One request for all `indices`; those that are closed or gone are missing from the answer.

    Up to its global checkpoint every copy of a shard has every change, so nothing shows up below it later.
    """
    if not indices:
        return {}
    names = ",".join(indices)
    try:
        found = await _stats(es, names if len(names) < _MAX_URL_CHARACTERS else "*")
    except NotFoundError:  # one of them is gone
        found = await _stats(es, "*")
    return {name: IndexShards(found[name]["uuid"], _primaries(found[name])) for name in indices if name in found}


async def _stats(es: AsyncElasticsearch, names: str) -> dict[str, Any]:
    answer = await es.indices.stats(
        index=names,
        expand_wildcards=["open", "hidden"],
        forbid_closed_indices=False,
        metric="docs",
        level="shards",
        filter_path="indices.*.uuid,indices.*.shards.*.routing.primary,indices.*.shards.*.seq_no.global_checkpoint",
    )
    return dict(answer.body.get("indices", {}))


def _primaries(body: dict[str, Any]) -> dict[int, int]:
    return {
        int(shard): copy["seq_no"]["global_checkpoint"]
        for shard, copies in body.get("shards", {}).items()
        for copy in copies
        if copy.get("routing", {}).get("primary") and "seq_no" in copy
    }


async def read_changes(
    es: AsyncElasticsearch, index: str, shard: int, *, after: int, until: int, size: int
) -> list[DocumentRef]:
    """At most `size` documents of a shard whose newest change has a sequence number in (`after`, `until`], in that order.

    The index must have been refreshed since `until` was read. Deletions leave no document and need none.
    """
    answer = await es.search(
        index=index,
        preference=f"_shards:{shard}",
        query={"range": {"_seq_no": {"gt": after, "lte": until}}},
        sort=[{"_seq_no": "asc"}],
        size=size,
        source=False,
        seq_no_primary_term=True,
        track_total_hits=False,
        allow_partial_search_results=False,
    )
    return [
        DocumentRef(id=hit["_id"], seq_no=hit["_seq_no"], routing=hit.get("_routing")) for hit in answer["hits"]["hits"]
    ]
