"""Reads the position of each shard from Elasticsearch, and makes the changes up to it visible."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError

from esblend import tracing
from esblend.broker import DocumentRef, RangeTask
from esblend.elasticsearch_connection import is_passing
from esblend.errors import IndexUnavailable
from indexer.feed import url_lists

log = structlog.get_logger()
_REFRESH_SECONDS = 90
"""Elasticsearch takes a minute to answer the refresh of an index with an unassigned primary shard."""
_STATS = (
    "indices.*.uuid,indices.*.status,indices.*.shards.*.routing.primary,indices.*.shards.*.seq_no.global_checkpoint,"
    "indices.*.shards.*.seq_no.max_seq_no,"
    "indices.*.shards.*.commit.user_data.history_uuid,indices.*.shards.*.commit.user_data.max_seq_no"
)


@dataclass(frozen=True)
class ShardState:
    """A primary shard. `history`: sequence numbers compare only within one history; restoring a snapshot or allocating a stale
    primary begins a new one. `committed`: the highest sequence number of the last Lucene commit. `highest`: that of any change,
    also of one that not every copy has yet."""

    global_checkpoint: int
    history: str | None = None
    committed: int | None = None
    highest: int = -1

    @property
    def last(self) -> int:
        """The last change that any copy has."""
        return max(self.highest, self.global_checkpoint)


@dataclass(frozen=True)
class IndexShards:
    """An index, identified by uuid, with its assigned primary shards."""

    uuid: str
    shards: dict[int, ShardState]

    @property
    def global_checkpoints(self) -> dict[int, int]:
        return {shard: state.global_checkpoint for shard, state in self.shards.items()}

    @property
    def is_settled(self) -> bool:
        """Whether all copies have every change, so that the global checkpoints advance only with further writes."""
        return all(state.highest <= state.global_checkpoint for state in self.shards.values())

    @property
    def writes(self) -> int:
        """The number of operations on the index since its creation: sequence numbers begin at 0 on each shard."""
        return sum(checkpoint + 1 for checkpoint in self.global_checkpoints.values())

    @property
    def histories(self) -> dict[int, str | None]:
        return {shard: state.history for shard, state in self.shards.items()}


async def read_shards(
    es: AsyncElasticsearch, indices: list[str], *, is_strict: bool = True, most_requests: int = 1
) -> dict[str, IndexShards]:
    """The shards of each index. Closed, deleted and inaccessible indices are missing from the result. With `is_strict`, the error
    of a single inaccessible index is raised. When the names need more than `most_requests`, one request reads all indices of the
    cluster.

    Every copy of a shard has every change up to the global checkpoint, so no change appears below it later.
    """
    portions = list(url_lists.portions(indices))
    if len(portions) > most_requests:
        portions = [["*"]]
    stats: dict[str, Any] = {}
    for portion in portions:
        try:
            stats |= await _stats(es, portion)
        except NotFoundError:  # one of them was deleted
            stats |= await _stats(es, portion, ignore_unavailable=True)
        except ApiError as error:
            if is_passing(error) or (is_strict and len(indices) == 1):
                raise
            stats |= await _stats_of_each(es, indices if portion == ["*"] else portion)
    return {
        name: IndexShards(stats[name]["uuid"], _primaries(stats[name]))
        for name in indices
        if name in stats and stats[name].get("status") != "close"
    }


async def _stats(es: AsyncElasticsearch, names: list[str], *, ignore_unavailable: bool = False) -> dict[str, Any]:
    response = await es.perform_request(  # the client does not know `ignore_unavailable` here
        "GET",
        f"/{','.join(quote(name, safe='*') for name in names)}/_stats/get",  # the cheapest; the sequence numbers come with each
        params={
            "level": "shards",
            "filter_path": _STATS,
            "expand_wildcards": "open,hidden",
            "forbid_closed_indices": "false",
            "ignore_unavailable": str(ignore_unavailable).lower(),
        },
        headers={"accept": "application/json"},
    )
    return dict(response.body.get("indices", {}))


async def _stats_of_each(es: AsyncElasticsearch, indices: list[str]) -> dict[str, Any]:
    """One request for each index, because the request for all of them was rejected: for one, a privilege may be missing."""
    stats: dict[str, Any] = {}
    for index in indices:
        try:
            stats |= await _stats(es, [index])
        except ApiError as error:
            if is_passing(error):
                raise
            log.warning("shard stats rejected", index=index, reason=error.error)
    return stats


async def refresh(es: AsyncElasticsearch, index: str, seconds: float) -> None:
    """Make everything up to the global checkpoints visible, which were read before. `seconds`: the usual time limit of a request.
    Raises IndexUnavailable when a copy failed: a search on that copy would miss changes."""
    patient = es.options(request_timeout=max(_REFRESH_SECONDS, seconds))
    response = await patient.indices.refresh(index=index, ignore_unavailable=True)
    failed = response["_shards"]["failed"]
    if failed:
        raise IndexUnavailable(f"{failed} shard copies of [{index}] failed to refresh")


def _primaries(body: dict[str, Any]) -> dict[int, ShardState]:
    return {
        int(shard): _state(copy)
        for shard, copies in body.get("shards", {}).items()
        for copy in copies
        if copy.get("routing", {}).get("primary") and "seq_no" in copy
    }


def _state(copy: dict[str, Any]) -> ShardState:
    commit = copy.get("commit", {}).get("user_data", {})
    committed = commit.get("max_seq_no")
    return ShardState(
        global_checkpoint=copy["seq_no"]["global_checkpoint"],
        history=commit.get("history_uuid"),
        committed=None if committed is None else int(committed),
        highest=copy["seq_no"]["max_seq_no"],
    )


async def traced_changes(es: AsyncElasticsearch, task: RangeTask) -> list[DocumentRef]:
    """The documents of a range, by which the traces of their writes are found. Empty while tracing is off, and when the search
    fails: traces are no reason to pause an index. The index must have been refreshed since the end of the range was read."""
    if not tracing.is_on():
        return []
    try:
        response = await es.search(
            index=task.index,
            preference=f"_shards:{task.shard}",
            query={"range": {"_seq_no": {"gt": task.after, "lte": task.until}}},
            sort=[{"_seq_no": "asc"}],
            size=task.max_documents,
            source=False,
            seq_no_primary_term=True,
            track_total_hits=False,
        )
    except (ApiError, TransportError) as error:
        log.warning("traces of changes not found", index=task.index, cause=type(error).__name__)
        return []
    return [
        DocumentRef(id=hit["_id"], seq_no=hit["_seq_no"], routing=hit.get("_routing"))
        for hit in response["hits"]["hits"]
    ]
