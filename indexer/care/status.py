"""What an attached index's people want to know: coverage, what is pending, dead letters, lag."""

import time
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch
from pydantic import BaseModel

from indexer.feed.checkpoints import Checkpoint, load_checkpoint
from indexer.feed.shard_changes import IndexShards, read_shards
from mappings.attachment import DEAD_LETTER, DROPPED, EMBEDDED, NO_TEXT, Attachment
from mappings.index_lookup import find_attached

_STATES = {"embedded": EMBEDDED, "without_text": NO_TEXT, "dead_letters": DEAD_LETTER, "dropped": DROPPED}


class GenerationStatus(BaseModel):
    model: str
    dims: int
    active: bool


class BackfillStatus(BaseModel):
    remaining: int
    """Sequence numbers that it has still to go over; about as many documents."""
    seconds_left: float | None
    """At the present speed; None when that is not known or nothing moves."""
    paused: bool
    documents_per_second: float | None
    """The limit that was set; None when there is none."""


class IndexStatus(BaseModel):
    """`documents` = `embedded` + `without_text` + `dead_letters` + `dropped` + `pending`."""

    index: str
    documents: int
    embedded: int
    without_text: int
    dead_letters: int
    dropped: int
    """Dead letters that a person gave up."""
    pending: int
    coverage: float
    """Share of documents whose vectors are current, 0 to 1; dead letters and documents without text count as done."""
    lag_seconds: float
    """Age of the oldest change without its vector; 0 when there is none."""
    documents_per_second: float
    backfill: BackfillStatus
    generations: dict[str, GenerationStatus]


async def read_status(es: AsyncElasticsearch, name: str, *, counting: AsyncElasticsearch | None = None) -> IndexStatus:
    """The status of the active generation. `counting`: whose rights decide which documents count, if not those of `es`.

    Raises IndexNotFound or NotAttached.
    """
    counting = counting or es
    attached = await find_attached(es, name)
    index, attachment = attached.index, attached.attachment
    shards = (await read_shards(es, [index])).get(index)
    checkpoint = await _checkpoint(es, shards.uuid if shards else "", attachment.active)
    counts = await _counts(counting, name, attachment, checkpoint)
    if not counts["pending"] or _is_settled(shards, checkpoint):
        # Done as far as can be seen; a refresh shows the rest. Before that, it would cost a busy index much.
        await es.indices.refresh(index=index)
        counts = await _counts(counting, name, attachment, checkpoint)
    documents = counts["documents"]
    done = documents - counts["pending"]
    return IndexStatus(
        index=index,
        documents=documents,
        embedded=counts["embedded"],
        without_text=counts["without_text"],
        dead_letters=counts["dead_letters"],
        pending=counts["pending"],
        coverage=1.0 if not documents else round(done / documents, 6) if counts["pending"] else 1.0,
        lag_seconds=_lag(counts["pending"], checkpoint),
        documents_per_second=checkpoint.documents_per_second if checkpoint and checkpoint.pending_since else 0.0,
        dropped=counts["dropped"],
        backfill=_backfill(checkpoint, attachment, counts["pending"]),
        generations={
            key: GenerationStatus(model=value.model.name, dims=value.model.dims, active=key == attachment.active)
            for key, value in attachment.generations.items()
        },
    )


def _is_settled(shards: IndexShards | None, checkpoint: Checkpoint | None) -> bool:
    """Whether the feed has nothing more to do; true where that cannot be known."""
    if shards is None or checkpoint is None:
        return True
    return all(
        shard in checkpoint.shards
        and checkpoint.shards[shard].live >= position
        and checkpoint.shards[shard].backfill >= checkpoint.shards[shard].backfill_end
        for shard, position in shards.global_checkpoints.items()
    )


async def _checkpoint(es: AsyncElasticsearch, uuid: str, generation: str) -> Checkpoint | None:
    """None also when the caller may not read checkpoints: then only documents without any vector count as pending."""
    try:
        return await load_checkpoint(es, uuid, generation)
    except ApiError as error:
        if error.meta.status == 403:
            return None
        raise


async def _counts(
    es: AsyncElasticsearch, index: str, attachment: Attachment, checkpoint: Checkpoint | None
) -> dict[str, int]:
    """Counts by state, where a document that changed since the checkpoint is pending whatever its old state says."""
    if not attachment.generation.is_followed:
        return await _counts_of_foreign(es, index, attachment)
    never = {"bool": {"must_not": [{"exists": {"field": attachment.fingerprint_field}}]}}
    total = {"documents": 0, "embedded": 0, "without_text": 0, "dead_letters": 0, "dropped": 0, "pending": 0}
    for shard, live in _live_positions(checkpoint):
        changed: dict[str, Any] = {"range": {"_seq_no": {"gt": live}}} if shard is not None else {"match_none": {}}
        settled = {"must_not": [changed]}
        answer = await es.search(
            index=index,
            preference=None if shard is None else f"_shards:{shard}",
            size=0,
            track_total_hits=True,
            aggs={
                "pending": {"filter": {"bool": {"should": [never, changed]}}},
                **{
                    name: {"filter": {"bool": {"filter": [{"term": {attachment.state_field: state}}], **settled}}}
                    for name, state in _STATES.items()
                },
            },
        )
        total["documents"] += answer["hits"]["total"]["value"]
        for name, bucket in answer["aggregations"].items():
            total[name] += bucket["doc_count"]
    return total


async def _counts_of_foreign(es: AsyncElasticsearch, index: str, attachment: Attachment) -> dict[str, int]:
    """Of vectors that others write, only whether they are there is known; a document without one is not esblend's to embed."""
    has_vector = {"filter": {"exists": {"field": attachment.vector_field}}}
    answer = await es.search(index=index, size=0, track_total_hits=True, aggs={"embedded": has_vector})
    documents, embedded = answer["hits"]["total"]["value"], answer["aggregations"]["embedded"]["doc_count"]
    rest = dict.fromkeys(("dead_letters", "dropped", "pending"), 0)
    return {"documents": documents, "embedded": embedded, "without_text": documents - embedded, **rest}


def _live_positions(checkpoint: Checkpoint | None) -> list[tuple[int | None, int]]:
    if checkpoint is None or not checkpoint.shards:
        return [(None, -1)]
    return [(shard, position.live) for shard, position in sorted(checkpoint.shards.items())]


def _lag(pending: int, checkpoint: Checkpoint | None) -> float:
    if not pending or checkpoint is None or checkpoint.pending_since is None:
        return 0.0
    return round(max(0.0, time.time() - checkpoint.pending_since), 1)


def _backfill(checkpoint: Checkpoint | None, attachment: Attachment, pending: int) -> BackfillStatus:
    control = attachment.backfill
    remaining = pending  # as long as no feed has looked at it
    if checkpoint and checkpoint.shards:
        remaining = sum(shard.backfill_end - shard.backfill for shard in checkpoint.shards.values())
    speed = checkpoint.documents_per_second if checkpoint else 0.0
    seconds_left: float | None = 0.0
    if remaining:
        seconds_left = round(remaining / speed, 1) if speed and not control.paused else None
    return BackfillStatus(
        remaining=remaining,
        seconds_left=seconds_left,
        paused=control.paused,
        documents_per_second=control.documents_per_second,
    )
