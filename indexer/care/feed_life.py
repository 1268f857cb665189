"""Whether a feed lives, for status and doctor: from the heartbeats that feeds write (see `indexer.feed.leases`).

A heartbeat with a recent time belongs to a living feed. Clocks of two machines may differ, so an older time alone proves nothing:
then the counter is read again, and a living feed has incremented it.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError

from indexer.feed.leases import BEAT_SECONDS, heartbeat_id
from mappings.attachment_copies import CHECKPOINTS_INDEX

_RECENT_SECONDS = 10.0
_LOOKS = 5
_NEWEST = 100


@dataclass(frozen=True)
class FeedLife:
    """`seen_at`: the latest known sign of life (seconds since 1970); None when there is none."""

    is_alive: bool
    seen_at: float | None = None


@dataclass(frozen=True)
class Heartbeat:
    """`at`: its time by the feed's clock (seconds since 1970); None from an earlier version."""

    counter: int
    at: float | None

    @property
    def is_recent(self) -> bool:
        return self.at is not None and abs(time.time() - self.at) < _RECENT_SECONDS


class SeenHeartbeats:
    """The last counter of each heartbeat, and since when it has not changed (monotonic). With them, only the first call after the
    death of a feed takes five seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def are_still(self, found: Mapping[str, Heartbeat]) -> bool:
        """Whether none of these counters has changed for five seconds."""
        now = time.monotonic()
        for id_, beat in found.items():
            if self._seen.get(id_, (None, now))[0] != beat.counter:
                self._seen[id_] = (beat.counter, now)
        return all(now - self._seen[id_][1] >= _LOOKS * BEAT_SECONDS for id_ in found)


async def read_feed_life(
    es: AsyncElasticsearch, owner: str | None, seen: SeenHeartbeats | None = None
) -> FeedLife | None:
    """The life of the feed `owner`, or of any feed if that is None; None when this user may not read heartbeats.

    It takes five seconds when no heartbeat is recent, but one may be of a feed with another clock. `seen`: of earlier calls.
    """
    seen = seen or SeenHeartbeats()
    try:
        first = await _heartbeats(es, owner)
        if any(beat.is_recent for beat in first.values()):
            return FeedLife(is_alive=True)
        for _ in range(0 if seen.are_still(first) else _LOOKS):
            await asyncio.sleep(BEAT_SECONDS)
            if any(_has_moved(first.get(id_), beat) for id_, beat in (await _heartbeats(es, owner)).items()):
                return FeedLife(is_alive=True)
    except ApiError as error:
        if error.meta.status == 403:
            return None
        raise
    return FeedLife(is_alive=False, seen_at=max((beat.at for beat in first.values() if beat.at), default=None))


def _has_moved(before: Heartbeat | None, now: Heartbeat) -> bool:
    return before is None or before.counter != now.counter


async def _heartbeats(es: AsyncElasticsearch, owner: str | None) -> dict[str, Heartbeat]:
    """The heartbeat of one feed, or the latest of all, by id."""
    try:
        if owner is not None:
            documents = [await es.get(index=CHECKPOINTS_INDEX, id=heartbeat_id(owner))]
        else:
            response = await es.search(
                index=CHECKPOINTS_INDEX,
                query={"bool": {"must_not": [{"exists": {"field": "uuid"}}]}},  # neither checkpoints
                sort=[{"_seq_no": "desc"}],
                source_includes=["beat", "at"],
                size=_NEWEST,
            )
            documents = [
                hit for hit in response["hits"]["hits"] if "beat" in hit["_source"]
            ]  # nor copies of attachments
    except NotFoundError:
        return {}
    return {hit["_id"]: Heartbeat(int(hit["_source"].get("beat", 0)), hit["_source"].get("at")) for hit in documents}
