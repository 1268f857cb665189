"""Decides which feed processes live: several may run, and one is active for each index.

Each process increments the counter in its heartbeat document every second (every 1.5 seconds, alone and without changes), in a
separate task and over a separate connection. It looks at the others when there are any, or when anybody else has written to the
checkpoints index: then its own writes do not have successive sequence numbers. A
checkpoint names its owner and is only written over the version that was read before (`if_seq_no`), so a process that lost an
index notices at its next save. If an owner's counter does not change for several looks, the other processes take over its
checkpoints, each process its share. Each process uses its own monotonic clock, so leases never compare wall clocks of
different machines. A process whose heartbeat is late sends no tasks until the next heartbeat. The time in a heartbeat is for status
and doctor only.
"""

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError

from esblend.broker import LANES, Lane
from esblend.metrics import FEED_HEARTBEATS
from indexer.feed.checkpoints import Version, ensure_checkpoints_index
from indexer.feed.members import MEMBERS_ID, Member, Members, read_members, write_members
from mappings.attachment_copies import CHECKPOINTS_INDEX

log = structlog.get_logger()
BEAT_SECONDS = 1.0
REST_BEAT_SECONDS = 1.5
"""Between the heartbeats of a process without others and without changes. A process that starts watches it for longer."""
LATE_AFTER_SECONDS = 3.5
"""A heartbeat may take the rest of this time before a round is skipped."""
DEAD_AFTER_SECONDS = 4.0
_DEAD_AFTER_LOOKS = 4
"""Number of looks. A slow Elasticsearch delays heartbeats and looks equally, so it makes no process look dead."""
_REQUEST_SECONDS = 10


@dataclass
class _Seen:
    """The last counter of another process, the time of its last change (monotonic), and the number of looks without a change."""

    counter: int
    since: float
    looks: int = 0


@dataclass(frozen=True)
class Outage:
    """Why the rounds of a process fail, and since when (seconds since 1970)."""

    reason: str
    since: float


class Leases:
    """The heartbeat of this process, and its view of the others. Run `keep` as a task."""

    def __init__(self, es: AsyncElasticsearch, group: str) -> None:
        """`group`: this process divides the indices with the processes of the same group."""
        self._es = es.options(request_timeout=_REQUEST_SECONDS, max_retries=0)
        self.me = uuid.uuid4().hex
        self.members: frozenset[str] = frozenset({self.me})
        """The live processes of the group, with this one."""
        self.members_changed_at = float("-inf")
        self.is_at_rest = False
        """Whether this process has nothing to do at the moment."""
        self.can_work = True
        """False while the rounds of this process fail. It is no member then, so that the others leave no index to it."""
        self.outage: Outage | None = None
        """Why the last round failed, for status and doctor, and for the other processes."""
        self.lapses = 0
        """How often other processes may have taken over what this process follows."""
        self.in_flight: Mapping[Lane, int] = {}
        """The unfinished tasks of this process, for the others to read in its heartbeat."""
        self.in_flight_of_others: list[Mapping[Lane, int]] = []
        self.watched: set[str] = set()
        """The owners of indices that are in this process's share, and that it does not follow."""
        self._group = group
        self._known: set[str] = set()
        self._dead: set[str] = set()
        self._failing: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._counter = 0
        self._beaten_at = float("-inf")
        self._written: Version | None = None
        """The version of the last heartbeat."""
        self._is_look_due = True

    @property
    def is_late(self) -> bool:
        """Whether other processes may have taken over what this process follows."""
        return time.monotonic() - self._beaten_at > LATE_AFTER_SECONDS

    @property
    def dead(self) -> set[str]:
        """The watched owners that stopped."""
        return self._dead & self.watched

    @property
    def working_others(self) -> frozenset[str]:
        """The other live processes of the group whose rounds do not fail."""
        return self.members - self._dead - self._failing - {self.me}

    async def join(self) -> None:
        """Send the first heartbeat and become a member. The second look finds the members without a heartbeat."""
        await self.beat()
        await self.look()
        await self.look()

    async def keep(self) -> None:
        """Send a heartbeat every 1 to 1.5 seconds, and look at the others if anything may have changed, until cancelled."""
        while True:
            began = time.monotonic()
            try:
                await self.beat()
                if self.must_look:
                    await self.look()
            except (ApiError, TransportError) as error:
                log.warning("heartbeat failed", cause=type(error).__name__)
            except Exception as error:  # without heartbeats this process would send no task any more
                log.error("unexpected error of the heartbeat", exc_info=error)
            await asyncio.sleep(max(0.0, began + self._pause - time.monotonic()))

    @property
    def _pause(self) -> float:
        return REST_BEAT_SECONDS if self.is_at_rest and not self.must_look else BEAT_SECONDS

    async def beat(self) -> None:
        began = time.monotonic()
        was_late = self._counter > 0 and self.is_late
        if self._counter == 0:
            await ensure_checkpoints_index(self._es)
        self._counter += 1
        document = {"format": 1, "beat": self._counter, "in_flight": dict(self.in_flight), "at": time.time()}
        if self.outage is not None:
            document |= {"outage": asdict(self.outage)}
        written = await self._write(document)
        if self._written is None or written != Version(self._written.seq_no + 1, self._written.primary_term):
            self._is_look_due = True
        self._written = written
        self._beaten_at = began
        self.lapses += was_late
        FEED_HEARTBEATS.inc()

    async def _write(self, document: dict[str, Any]) -> Version:
        """Write the heartbeat. When somebody deleted the index, the write creates it again by dynamic mapping, or fails."""
        write = partial(self._es.index, index=CHECKPOINTS_INDEX, id=heartbeat_id(self.me), document=document)
        try:
            response = await write()
        except NotFoundError:  # `action.auto_create_index` forbids it
            await ensure_checkpoints_index(self._es)
            response = await write()
        if response["result"] == "created" and self._counter > 1:
            await ensure_checkpoints_index(self._es)
        return Version(response["_seq_no"], response["_primary_term"])

    @property
    def must_look(self) -> bool:
        """Whether members or watched processes may have changed since the last look."""
        return self._is_look_due or bool(self._others) or self.can_work != (self.me in self._known)

    @property
    def _others(self) -> set[str]:
        return (self._known | self.watched) - {self.me}

    async def look(self) -> None:
        """Read the list of members, and compare the counters of members and watched processes with those of the last look."""
        others = sorted(self._others)
        response = await self._es.mget(index=CHECKPOINTS_INDEX, ids=[MEMBERS_ID, *map(heartbeat_id, others)])
        failed = [item["error"]["type"] for item in response["docs"] if "error" in item]
        if failed:  # a shard is unavailable, which says nothing about the others
            log.warning("heartbeats not read", cause=failed[0])
            return
        members, *heartbeats = response["docs"]
        beats = {
            other: item["_source"] if item.get("found") else {} for other, item in zip(others, heartbeats, strict=True)
        }
        now = time.monotonic()
        self._dead = {other for other in others if not self._is_alive(other, beats[other].get("beat"), now)}
        self._failing = {other for other in others if "outage" in beats[other]}
        self.in_flight_of_others = [_in_flight(beats[other]) for other in others if other not in self._dead]
        await self._update_members(read_members(members), now)
        self._is_look_due = False

    async def _update_members(self, stored: Members, now: float) -> None:
        """Add this process if it can work, and remove dead ones. A process that has just added itself counts as live until the
        next look."""
        live = {id_: member for id_, member in stored.by_id.items() if id_ not in self._dead | {self.me}}
        if self.can_work:
            live[self.me] = Member(id=self.me, group=self._group)
        if self.me in self._known and self.me not in stored.by_id and not stored.is_newer:
            self.lapses += 1  # removed as dead, or the whole list was deleted
        if live != stored.by_id and not stored.is_newer:
            await write_members(self._es, Members(live, stored.version))
            await self.remove(stored.by_id.keys() & self._dead)
        self._known = set(live)
        members = frozenset(id_ for id_, member in live.items() if member.group == self._group) | {self.me}
        if members != self.members:
            log.info("feed processes", members=len(members))
            self.members, self.members_changed_at = members, now

    def _is_alive(self, owner: str, counter: int | None, now: float) -> bool:
        if counter is None:
            return False  # it resigned, or another process removed it
        seen = self._seen.get(owner)
        if seen is None or seen.counter != counter:
            self._seen[owner] = _Seen(counter, now)
            return True
        seen.looks += 1
        return now - seen.since < DEAD_AFTER_SECONDS or seen.looks < _DEAD_AFTER_LOOKS

    async def remove(self, owners: set[str]) -> None:
        """Delete the heartbeats of dead processes."""
        for owner in owners:
            self._seen.pop(owner, None)
            try:
                await self._es.delete(index=CHECKPOINTS_INDEX, id=heartbeat_id(owner))
            except NotFoundError:
                continue

    async def resign(self) -> None:
        """Leave: the other processes take over at once."""
        await self.remove({self.me})
        response = await self._es.mget(index=CHECKPOINTS_INDEX, ids=[MEMBERS_ID])
        stored = read_members(response["docs"][0])
        if self.me in stored.by_id:
            others = {id_: member for id_, member in stored.by_id.items() if id_ != self.me}
            await write_members(self._es, Members(others, stored.version))


def heartbeat_id(owner: str) -> str:
    """The id of the heartbeat document of a feed."""
    return f"feed-{owner}"


def _in_flight(heartbeat: Mapping[str, Any]) -> dict[Lane, int]:
    """The unfinished tasks in a heartbeat; none in that of an earlier version."""
    stored = heartbeat.get("in_flight")
    counts = stored if isinstance(stored, dict) else {}
    return {lane: count for lane in LANES if isinstance(count := counts.get(lane), int)}
