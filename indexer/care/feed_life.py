"""Whether a feed lives and works, for status and doctor: from the heartbeats that feeds write (see `indexer.feed.leases`).

A heartbeat with a recent time belongs to a living feed. Clocks of two machines may differ, so an older time alone proves nothing:
then the counter is read again, and a living feed has incremented it. A feed that stops deletes its heartbeat and leaves the list of
members; the other members take over its indices within seconds.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError

from esblend.multi_get import existing, exists
from indexer.feed.leases import BEAT_SECONDS, Outage, heartbeat_id
from indexer.feed.members import MEMBERS_ID, read_members
from mappings.attachment_copies import CHECKPOINTS_INDEX

_RECENT_SECONDS = 10.0
_LOOKS = 5
_NEWEST = 100


@dataclass(frozen=True)
class FeedLife:
    """`seen_at`: the latest known sign of life (seconds since 1970); None when there is none."""

    is_alive: bool
    seen_at: float | None = None
    has_successor: bool = False
    """The feed is dead, and another one that works takes over its indices."""
    outage: Outage | None = None
    """Why the living feed does not work, and since when; None when it works."""


@dataclass(frozen=True)
class Heartbeat:
    """`at`: its time by the feed's clock (seconds since 1970); None from an earlier version."""

    counter: int
    at: float | None
    outage: Outage | None = None

    @property
    def is_recent(self) -> bool:
        return self.at is not None and abs(time.time() - self.at) < _RECENT_SECONDS


class SeenHeartbeats:
    """The last counter of each heartbeat, and since when it has not changed (monotonic). With them, only the first call after the
    death of a feed takes five seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def are_still(self, heartbeats: Mapping[str, Heartbeat]) -> bool:
        """Whether none of these counters has changed for five seconds."""
        now = time.monotonic()
        for id_, beat in heartbeats.items():
            if self._seen.get(id_, (None, now))[0] != beat.counter:
                self._seen[id_] = (beat.counter, now)
        return all(now - self._seen[id_][1] >= _LOOKS * BEAT_SECONDS for id_ in heartbeats)


async def read_feed_life(
    es: AsyncElasticsearch, owner: str | None, seen: SeenHeartbeats | None = None
) -> FeedLife | None:
    """The life of the feed `owner`, or of any feed if that is None; None when this user may not read heartbeats.

    It takes five seconds when no heartbeat is recent, but one may be of a feed with another clock. `seen`: of earlier calls.
    """
    try:
        return await _watch(es, owner, seen or SeenHeartbeats())
    except NotFoundError:
        return FeedLife(is_alive=False)
    except ApiError as error:
        if error.meta.status == 403:
            return None
        raise


async def _watch(es: AsyncElasticsearch, owner: str | None, seen: SeenHeartbeats) -> FeedLife:
    first = await _latest(es) if owner is None else await _read(es, [heartbeat_id(owner)])
    own = set(first)
    if not any(beat.is_recent for beat in first.values()) and owner is not None:
        first |= await _members(es)
    awaited = own or set(first)  # a feed that stopped has no heartbeat, and any other one takes over its indices
    living = {id_: beat for id_, beat in first.items() if beat.is_recent}
    if not living.keys() & awaited and not seen.are_still({id_: first[id_] for id_ in awaited}):
        for _ in range(_LOOKS):
            await asyncio.sleep(BEAT_SECONDS)
            latest = await _read(es, first.keys())
            living |= {id_: beat for id_, beat in latest.items() if beat.counter != first[id_].counter}
            if living.keys() & awaited:
                break
    if living.keys() & own:
        outages = [living[id_].outage for id_ in living.keys() & own]
        return FeedLife(is_alive=True, outage=None if None in outages else outages[0])
    seen_at = max((first[id_].at or 0.0 for id_ in own), default=0.0)
    return FeedLife(
        is_alive=False, seen_at=seen_at or None, has_successor=any(beat.outage is None for beat in living.values())
    )


async def _latest(es: AsyncElasticsearch) -> dict[str, Heartbeat]:
    """The latest heartbeats of all feeds, by id."""
    response = await es.search(
        index=CHECKPOINTS_INDEX,
        query={"bool": {"must_not": [{"exists": {"field": "uuid"}}]}},  # neither checkpoints
        sort=[{"_seq_no": "desc"}],
        source_includes=["beat", "at", "outage"],
        size=_NEWEST,
    )
    hits = response["hits"]["hits"]
    # Copies of attachments have no counter.
    return {hit["_id"]: _heartbeat(hit["_source"]) for hit in hits if "beat" in hit["_source"]}


async def _members(es: AsyncElasticsearch) -> dict[str, Heartbeat]:
    """The heartbeats of the members of the list of feeds. Gets are in real time: a feed that has just stopped is missing."""
    response = await es.mget(index=CHECKPOINTS_INDEX, ids=[MEMBERS_ID])
    exists(response["docs"][0], CHECKPOINTS_INDEX)  # an error is not an empty list
    return await _read(es, [heartbeat_id(member) for member in sorted(read_members(response["docs"][0]).by_id)])


async def _read(es: AsyncElasticsearch, ids: Collection[str]) -> dict[str, Heartbeat]:
    if not ids:
        return {}
    response = await es.mget(index=CHECKPOINTS_INDEX, ids=list(ids))
    return {item["_id"]: _heartbeat(item["_source"]) for item in existing(response["docs"], CHECKPOINTS_INDEX)}


def _heartbeat(source: Mapping[str, Any]) -> Heartbeat:
    stored = source.get("outage")
    outage = Outage(str(stored.get("reason")), float(stored.get("since", 0))) if isinstance(stored, dict) else None
    return Heartbeat(int(source.get("beat", 0)), source.get("at"), outage)
