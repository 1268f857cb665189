"""Which of the attached indices this process follows: its share of them.

division between the members -> free or orphaned checkpoint -> claim -> follow
                            \\-> another member's for a while -> no further tasks (the step releases it)
"""

import contextlib
import time
from collections.abc import Callable, Collection, Mapping

from elasticsearch import AsyncElasticsearch

from indexer.feed.checkpoints import Checkpoint, Version, claim_checkpoints, load_checkpoints
from indexer.feed.discovery import AttachedIndex, Discovery
from indexer.feed.followed import Followed
from indexer.feed.index_feed import IndexFeed
from indexer.feed.leases import Leases
from indexer.feed.saved_checkpoint import LeaseLostError
from indexer.feed.shares import Shares

SETTLE_SECONDS = 3.0
"""No index is handed over until the members have been the same for this time: by then the others see the same members."""
_CHECK_SECONDS = 10.0
"""Another process may still be taking over indices while this one continues after a pause."""
TAKEN = "another feed follows this index now"


class Ownership:
    """Takes over and hands over indices. The conditional write of a checkpoint is the only proof of ownership."""

    def __init__(
        self,
        es: AsyncElasticsearch,
        leases: Leases,
        discovery: Discovery,
        followed: Followed,
        follow: Callable[[str, Checkpoint, Version], None],
        unfollow: Callable[[str, IndexFeed, str], None],
    ) -> None:
        """`follow` takes the key and the claimed checkpoint, `unfollow` the key, the feed, and the event for the log."""
        self._es = es
        self._leases = leases
        self._discovery = discovery
        self._followed = followed
        self._follow = follow
        self._unfollow = unfollow
        self._shares = Shares()
        self._shared: tuple[Mapping[str, AttachedIndex], frozenset[str]] = ({}, frozenset())
        self._owners: dict[str, str] = {}
        """The member of each attached index, by the division."""
        self._foreign_since: dict[str, float] = {}
        """Since when the division gives followed indices to another member (monotonic seconds)."""
        self._unanswered: dict[str, Version | None] = {}
        """Claims without proof of their outcome, with the version that they replace: the answer was lost, or it was a conflict,
        which can be with the first attempt of the same request."""
        self._lapses = 0
        self._check_until = float("-inf")

    @property
    def members_changed(self) -> bool:
        """Whether the members are others than in the last division."""
        return self._leases.members != self._shared[1]

    @property
    def _is_settled(self) -> bool:
        """Whether the members have been the same for a while."""
        return time.monotonic() - self._leases.members_changed_at >= SETTLE_SECONDS

    async def check(self) -> None:
        """For some seconds after a pause of this process: leave the indices that other processes have taken over. Without changes,
        the next save that would show it may be hours away."""
        now = time.monotonic()
        if self._lapses != self._leases.lapses:
            self._lapses, self._check_until = self._leases.lapses, now + _CHECK_SECONDS
        if now > self._check_until:
            return
        stored = await load_checkpoints(self._es, sorted(self._followed.feeds))
        for key, feed in list(self._followed.feeds.items()):
            checkpoint, _ = stored.get(key, (None, None))
            if key not in stored:
                feed.saved.save_again()
                self._followed.active.add(key)
            elif checkpoint is not None and checkpoint.owner != self._leases.me:
                self._unfollow(key, feed, TAKEN)

    async def take_over(self) -> None:
        """Follow the indices of this process's share that no process follows, or only one that stopped. Raises the errors of
        Elasticsearch, and IndexUnavailable while checkpoints cannot be read."""
        if not self._leases.can_work:
            return
        self.divide()
        attached, me = self._discovery.attached, self._leases.me
        keys = [key for key, owner in self._owners.items() if owner == me and key not in self._followed.feeds]
        await self._release_unanswered(self._unanswered.keys() - set(keys))
        stored = await load_checkpoints(self._es, sorted(keys))
        owners = {checkpoint.owner for checkpoint, _ in stored.values() if checkpoint and checkpoint.owner}
        self._leases.watched = owners - {me}
        free = self._leases.dead | {me}
        claims: dict[str, tuple[Checkpoint, Version | None]] = {}
        for key in sorted(keys):
            index = attached[key]
            checkpoint, version = stored.get(key, (None, None))
            if checkpoint is not None and checkpoint.owner and checkpoint.owner not in free:
                continue
            if key not in stored and not self._is_settled:
                continue  # after a deletion of all checkpoints, their owners save them again and are members again
            checkpoint = checkpoint or Checkpoint(index=index.index, uuid=index.uuid, generation=index.generation)
            claims[key] = (checkpoint.model_copy(update={"owner": me}), version)
        await self._claim(claims)
        await self._leases.remove(self._leases.dead)

    async def _claim(self, claims: Mapping[str, tuple[Checkpoint, Version | None]]) -> None:
        self._unanswered |= {key: version for key, (_, version) in claims.items()}
        versions = await claim_checkpoints(self._es, list(claims.values()))
        for (key, (ours, _)), version in zip(claims.items(), versions, strict=True):
            if version is not None:  # else another process was quicker
                del self._unanswered[key]
                self._follow(key, ours, version)

    async def _release_unanswered(self, keys: Collection[str]) -> None:
        """Release those of these indices that this process has claimed without knowing it. Their checkpoints name it as the owner,
        so nobody would follow them. A claim whose version is still the stored one may yet be written."""
        stored = await load_checkpoints(self._es, sorted(keys))
        released: list[tuple[Checkpoint, Version | None]] = []
        for key in keys:
            checkpoint, version = stored.get(key, (None, None))
            if checkpoint is not None and checkpoint.owner == self._leases.me:
                released.append((checkpoint.model_copy(update={"owner": None}), version))
            elif key not in self._discovery.attached or version != self._unanswered[key]:
                del self._unanswered[key]
        await claim_checkpoints(self._es, released)

    async def leave_all(self) -> None:
        """Leave all indices to the processes that can work. These read the changes of unfinished tasks again. Raises the errors of
        Elasticsearch."""
        for key, feed in list(self._followed.feeds.items()):
            with contextlib.suppress(LeaseLostError):
                await feed.saved.release(feed.positions.all())
            self._unfollow(key, feed, "left to a process that can work")
        await self._release_unanswered(set(self._unanswered))

    def unfollow_detached(self) -> None:
        """Leave the indices that are attached no longer, and take over changed controls of the backfill."""
        attached = self._discovery.attached
        for key, feed in list(self._followed.feeds.items()):
            if key in attached:
                feed.backfill = attached[key].attachment.backfill
            elif feed.index not in self._discovery.unavailable:
                self._unfollow(key, feed, "no longer following")

    def divide(self) -> None:
        """Divide the indices between the members, and leave those that have been another member's for a while: until then, the
        others may not have seen a new member or index. A closed index stays where it is."""
        attached, members, me = self._discovery.attached, self._leases.members, self._leases.me
        feeds, now = self._followed.feeds, time.monotonic()
        if self._shared[0] is not attached or self._shared[1] != members:
            self._owners = self._shares.of(attached.keys(), members)
            self._shared = (attached, members)
            foreign = {key for key in feeds if self._owners.get(key, me) != me}
            self._foreign_since = {key: self._foreign_since.get(key, now) for key in foreign}
            for key in feeds.keys() - foreign:
                feeds[key].leave(False)
        for key, since in self._foreign_since.items():
            if key in feeds:
                is_leaving = self._is_settled and now - since >= SETTLE_SECONDS
                feeds[key].leave(is_leaving)
                if is_leaving:
                    self._followed.active.add(key)
