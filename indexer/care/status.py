"""The status of an attached index: coverage, pending documents, dead letters, lag."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch
from pydantic import BaseModel

from esblend.errors import IndexUnavailable
from indexer.care.feed_life import FeedLife, SeenHeartbeats, read_feed_life
from indexer.feed.checkpoints import Checkpoint, ShardCheckpoint, load_checkpoint
from indexer.feed.shard_changes import IndexShards, read_shards
from mappings.attachment import Attachment
from mappings.capabilities import read_settings
from mappings.coverage import STATES_OF_COUNTS, is_counted_as, is_processed
from mappings.dead_letter_index import DEAD_LETTERS_INDEX
from mappings.guard import read_guard_pipelines
from mappings.index_lookup import AttachedIndex, find_attached
from mappings.index_state import require_open
from mappings.problems import current_problems

_LETTERS = 10_000
_SEARCHES_AT_A_TIME = 4
_SHARDS_OF_SEARCH = 200
"""Their numbers are in the URL."""
NOT_FOLLOWED = "no feed follows this index"
HAND_OVER = "no feed reads this index at the moment, and another one takes it over within seconds"


class GenerationStatus(BaseModel):
    model: str
    dims: int
    active: bool
    missing: int | None
    """Documents that lack vectors of this generation, as of the last refresh; None for the active one, whose documents are counted
    in the status itself."""


class BackfillStatus(BaseModel):
    remaining: int
    """Sequence numbers that it has not processed yet; about the number of documents."""
    seconds_left: float | None
    """At the current speed; None when the speed is unknown or 0."""
    paused: bool
    documents_per_second: float | None
    """The configured limit; None when there is none."""


class ProblemStatus(BaseModel):
    """See `mappings.problems.Problem`."""

    setting: str
    detail: str
    advice: str
    prevents_embedding: bool


class IndexStatus(BaseModel):
    """`documents` = `embedded` + `without_text` + `dead_letters` + `dropped` + `pending`."""

    index: str
    documents: int
    embedded: int
    without_text: int
    dead_letters: int
    dropped: int
    """Dead letters that an operator dropped."""
    pending: int
    coverage: float
    """Documents with current vectors over documents that should have them, 0 to 1. Documents without text and dropped dead letters
    should have none; dead letters should."""
    paused: str | None
    """Why no feed reads the index at present; None when one does."""
    problems: list[ProblemStatus]
    """Settings and mappings of the index that prevent embedding or search; empty when all is well."""
    lag_seconds: float | None
    """Age of the oldest change without its vector; 0 when there is none. While no feed follows the index, at least the time since
    one last did. None: unknown, because no feed has followed the index yet, because another feed is taking it over, or because the
    caller may not read checkpoints."""
    documents_per_second: float
    backfill: BackfillStatus
    generations: dict[str, GenerationStatus]


@dataclass(frozen=True)
class ShardGroup:
    """Shards that one search counts; None: all. `changed`: matches their documents that the feed has yet to read or compare."""

    shards: tuple[int, ...] | None
    changed: Mapping[str, Any]

    @property
    def preference(self) -> str | None:
        return None if self.shards is None else f"_shards:{','.join(map(str, self.shards))}"


async def read_status(
    es: AsyncElasticsearch,
    name: str,
    *,
    counting: AsyncElasticsearch | None = None,
    seen: SeenHeartbeats | None = None,
) -> IndexStatus:
    """The status of the active generation. `counting`: the client whose privileges decide which documents count; `es` by default.
    `seen`: the heartbeats of earlier calls. Without them, the status of an index whose feed was killed takes five seconds.

    Raises IndexNotFound, NotAttached, IndexClosed or IndexUnavailable.
    """
    counting = counting or es
    attached = await find_attached(es, name)
    index, attachment = attached.index, attached.attachment
    settings = await read_settings(es, index)
    require_open(index, settings)
    shards = (await read_shards(es, [index])).get(index)
    uuid = shards.uuid if shards else ""
    checkpoint = await _checkpoint(es, uuid, attachment.active)
    if checkpoint and shards:
        checkpoint = checkpoint.valid_for(shards.histories)
    if checkpoint and shards and (missing := sorted(checkpoint.shards.keys() - shards.shards.keys())):
        raise IndexUnavailable(
            f"shard {missing[0]} of [{index}] has no primary, so its documents cannot be counted: "
            "GET _cluster/allocation/explain says why"
        )
    groups = _shard_groups(checkpoint, shards)
    counts = await _counts(counting, name, attachment, groups)
    if not counts["pending"] or _is_settled(shards, checkpoint):
        # Only a refresh shows the latest writes. It is expensive while a busy index is still being processed.
        await es.indices.refresh(index=index)
        counts = await _counts(counting, name, attachment, groups)
        if counts["pending"] and (letters := await _documents_with_letters(es, uuid, attachment.active)):
            counts = await _counts(counting, name, attachment, groups, letters)
    life = (
        await read_feed_life(es, checkpoint.owner if checkpoint else None, seen)
        if attachment.generation.is_followed
        else None
    )
    missing_by_generation = await _missing(counting, name, attachment)
    return IndexStatus(
        index=index,
        documents=counts["documents"],
        embedded=counts["embedded"],
        without_text=counts["without_text"],
        dead_letters=counts["dead_letters"],
        pending=counts["pending"],
        coverage=_coverage(counts),
        paused=pause(checkpoint, life),
        problems=await _problems(es, attached, settings),
        lag_seconds=_lag(counts["pending"], checkpoint, life),
        documents_per_second=checkpoint.documents_per_second if checkpoint and checkpoint.pending_since else 0.0,
        dropped=counts["dropped"],
        backfill=_backfill(checkpoint, attachment, counts["pending"]),
        generations={
            key: GenerationStatus(
                model=value.model.name,
                dims=value.model.dims,
                active=key == attachment.active,
                missing=missing_by_generation.get(key),
            )
            for key, value in attachment.generations.items()
        },
    )


def _coverage(counts: dict[str, int]) -> float:
    """1 only when no document lacks its vectors."""
    lacking = counts["pending"] + counts["dead_letters"]
    return min(0.999999, round(counts["embedded"] / (counts["embedded"] + lacking), 6)) if lacking else 1.0


async def _problems(
    es: AsyncElasticsearch, attached: AttachedIndex, settings: Mapping[str, Any]
) -> list[ProblemStatus]:
    pipelines = await read_guard_pipelines(es, [attached.attachment])
    problems = current_problems(attached.index, settings, attached.mapping, attached.attachment, pipelines)
    return [ProblemStatus(**asdict(problem)) for problem in problems]


def _is_settled(shards: IndexShards | None, checkpoint: Checkpoint | None) -> bool:
    """Whether the feed has processed all changes; true when that cannot be determined."""
    if shards is None or checkpoint is None:
        return True
    return all(_is_done(checkpoint, shard, state.global_checkpoint) for shard, state in shards.shards.items())


def _is_done(checkpoint: Checkpoint, shard: int, last: int) -> bool:
    """Whether the feed has processed all changes of a shard up to `last`."""
    position = checkpoint.shards.get(shard)
    return position is not None and position.live >= last and position.backfill >= position.backfill_end


async def _checkpoint(es: AsyncElasticsearch, uuid: str, generation: str) -> Checkpoint | None:
    """None also when the caller may not read checkpoints; then only documents without vectors count as pending."""
    try:
        return await load_checkpoint(es, uuid, generation)
    except ApiError as error:
        if error.meta.status == 403:
            return None
        raise


async def _counts(
    es: AsyncElasticsearch,
    index: str,
    attachment: Attachment,
    groups: Sequence[ShardGroup],
    letters: Sequence[str] = (),
) -> dict[str, int]:
    """Documents by count. A document that changed after the checkpoint is pending, and so is one whose vectors are gone.

    `groups`: the shards of the index, one search for each group. `letters`: ids of documents with dead letters. They count as
    dead letters even if Elasticsearch rejected the mark in the document.
    """
    if not attachment.generation.is_followed:
        return await _counts_of_foreign_vectors(es, index, attachment)
    processed = is_processed(attachment)
    limit = asyncio.Semaphore(_SEARCHES_AT_A_TIME)

    async def count_group(group: ShardGroup) -> dict[str, int]:
        changed = group.changed
        unmarked = {"filter": [{"ids": {"values": list(letters)}}], "must_not": [changed, processed]}
        async with limit:
            response = await es.search(
                index=index,
                preference=group.preference,
                size=0,
                track_total_hits=True,
                allow_partial_search_results=False,
                aggs={
                    "pending": {"filter": {"bool": {"should": [changed, {"bool": {"must_not": [processed]}}]}}},
                    **({"unmarked": {"filter": {"bool": unmarked}}} if letters else {}),
                    **{
                        count: {
                            "filter": {"bool": {"filter": [is_counted_as(attachment, count)], "must_not": [changed]}}
                        }
                        for count in STATES_OF_COUNTS
                    },
                },
            )
        # None when an alias with routing searches none of these shards.
        aggregations = response.body.get("aggregations", {})
        buckets = {name: bucket["doc_count"] for name, bucket in aggregations.items()}
        return {"documents": response["hits"]["total"]["value"], **buckets}

    total = {"documents": 0, **dict.fromkeys(STATES_OF_COUNTS, 0), "pending": 0, "unmarked": 0}
    for counts in await asyncio.gather(*map(count_group, groups)):
        for name, documents in counts.items():
            total[name] += documents
    unmarked_letters = total.pop("unmarked")
    return {
        **total,
        "dead_letters": total["dead_letters"] + unmarked_letters,
        "pending": total["pending"] - unmarked_letters,
    }


async def _missing(es: AsyncElasticsearch, index: str, attachment: Attachment) -> dict[str, int]:
    """The documents without vectors of each generation that is not active."""
    processed = {
        name: is_processed(attachment.using(name)) for name in attachment.generations if name != attachment.active
    }
    if not processed:
        return {}
    aggs = {name: {"filter": {"bool": {"must_not": [query]}}} for name, query in processed.items()}
    response = await es.search(index=index, size=0, allow_partial_search_results=False, aggs=aggs)
    return {name: response["aggregations"][name]["doc_count"] for name in processed}


async def _counts_of_foreign_vectors(es: AsyncElasticsearch, index: str, attachment: Attachment) -> dict[str, int]:
    """Counts for vectors that other applications write. esblend does not embed documents without a vector there."""
    has_vector = {"filter": {"exists": {"field": attachment.vector_field}}}
    response = await es.search(
        index=index, size=0, track_total_hits=True, allow_partial_search_results=False, aggs={"embedded": has_vector}
    )
    documents, embedded = response["hits"]["total"]["value"], response["aggregations"]["embedded"]["doc_count"]
    others = dict.fromkeys(("dead_letters", "dropped", "pending"), 0)
    return {"documents": documents, "embedded": embedded, "without_text": documents - embedded, **others}


async def _documents_with_letters(es: AsyncElasticsearch, uuid: str, generation: str) -> list[str]:
    """Ids of documents with dead letters, at most ten thousand; none when the caller may not read the letters."""
    terms = [{"term": {"uuid": uuid}}, {"term": {"generation": generation}}]
    try:
        response = await es.search(
            index=DEAD_LETTERS_INDEX, query={"bool": {"filter": terms}}, source_includes=["id"], size=_LETTERS
        )
    except ApiError as error:
        if error.meta.status in (403, 404):
            return []
        raise
    return [hit["_source"]["id"] for hit in response["hits"]["hits"]]


def _shard_groups(checkpoint: Checkpoint | None, shards: IndexShards | None) -> list[ShardGroup]:
    """Few groups of shards whose changes are all done, and a group for each other shard. `shards` were read before the checkpoint:
    if the last change of a shard is done in the checkpoint, all earlier ones are."""
    if checkpoint is None or not checkpoint.shards:
        return [ShardGroup(None, {"match_none": {}})]
    present = {} if shards is None else shards.shards
    known = sorted(checkpoint.shards.keys() | present.keys())
    done = [shard for shard in known if shard in present and _is_done(checkpoint, shard, present[shard].last)]
    if done == known:
        return [ShardGroup(None, {"match_none": {}})]
    settled = [
        ShardGroup(tuple(done[start : start + _SHARDS_OF_SEARCH]), {"match_none": {}})
        for start in range(0, len(done), _SHARDS_OF_SEARCH)
    ]
    others = [ShardGroup((shard,), _changed(checkpoint.shards.get(shard))) for shard in sorted({*known} - {*done})]
    return settled + others


def _changed(position: ShardCheckpoint | None) -> dict[str, Any]:
    """Matches the documents of a shard that the feed has yet to read or compare: all, before it has begun with the shard."""
    if position is None:
        return {"match_all": {}}
    backfill = {"gt": position.backfill, "lte": position.backfill_end}
    return {"bool": {"should": [{"range": {"_seq_no": {"gt": position.live}}}, {"range": {"_seq_no": backfill}}]}}


def pause(checkpoint: Checkpoint | None, life: FeedLife | None) -> str | None:
    """Why no feed reads an index at present; None when one does."""
    if life is not None and not life.is_alive and not life.has_successor:
        return f"{NOT_FOLLOWED}: start `esblend feed`"
    if life is not None and life.outage is not None:
        return f"the feed of this index does not work: {life.outage.reason}"
    if _is_handed_over(checkpoint, life):
        return HAND_OVER
    return checkpoint.paused_because if checkpoint else None


def _is_handed_over(checkpoint: Checkpoint | None, life: FeedLife | None) -> bool:
    """Whether a living feed takes the index over from another one."""
    if checkpoint is None or life is None:
        return False
    return life.has_successor or (life.is_alive and checkpoint.owner is None)


def _lag(pending: int, checkpoint: Checkpoint | None, life: FeedLife | None) -> float | None:
    is_followed = life is None or life.is_alive
    if checkpoint is None:
        return None if pending or not is_followed else 0.0
    since = checkpoint.pending_since if pending or pause(checkpoint, life) else None
    if since is None and life is not None and life.outage is not None:
        since = life.outage.since
    if since is None and _is_handed_over(checkpoint, life):
        return None
    if since is None and life is not None and not life.is_alive:
        # Changes after the feed's last sign of life are in no checkpoint.
        since = max(life.seen_at or 0.0, checkpoint.updated_at)
    return 0.0 if since is None else round(max(0.0, time.time() - since), 1)


def _backfill(checkpoint: Checkpoint | None, attachment: Attachment, pending: int) -> BackfillStatus:
    control = attachment.backfill
    remaining = pending  # until a feed follows the index
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
