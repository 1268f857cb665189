"""The indices that a feed process follows, and those among them that need a step.

active: may have work without a further write, or had work a moment ago; each look reads its shard stats
due:    its shard stats were read, or a task ended, since its last step began
"""

import time
from collections import defaultdict
from collections.abc import Iterable

from indexer.feed.index_feed import IndexFeed

_KEEP_SECONDS = 10.0
"""Changes of an index mostly come in groups, and each look notices those of an active index."""
_KEPT_AT_MOST = 32
"""With more active indices, looks at their shard stats cost more than they gain."""


class Followed:
    """The feeds of the followed indices, by the id of their checkpoint: one for each generation of an index."""

    def __init__(self, keep_seconds: float = _KEEP_SECONDS) -> None:
        """An index remains active for `keep_seconds` after its last work, while few are active."""
        self._keep_seconds = keep_seconds
        self._worked_at: dict[str, float] = {}
        self.feeds: dict[str, IndexFeed] = {}
        self.active: set[str] = set()
        self.due: set[str] = set()
        self._keys: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def indices(self) -> set[str]:
        return set(self._keys)

    @property
    def active_indices(self) -> set[str]:
        return {self.feeds[key].index for key in self.active}

    @property
    def is_busy(self) -> bool:
        """Whether a task is unfinished."""
        return any(self.feeds[key].is_busy for key in self.active)

    def add(self, key: str, feed: IndexFeed) -> None:
        self.feeds[key] = feed
        self.active.add(key)
        self._keys[feed.index].add(key)

    def remove(self, key: str) -> None:
        index = self.feeds.pop(key).index
        self.active.discard(key)
        self.due.discard(key)
        self._worked_at.pop(key, None)
        self._keys[index].discard(key)
        if not self._keys[index]:
            del self._keys[index]

    def settle(self, key: str) -> None:
        """Note whether the index is still active after a step."""
        if key not in self.feeds:
            return
        now = time.monotonic()
        if not self.feeds[key].is_at_rest:
            self._worked_at[key] = now
            self.active.add(key)
        elif now - self._worked_at.get(key, float("-inf")) >= self._keep_seconds or len(self.active) > _KEPT_AT_MOST:
            self.active.discard(key)

    def make_due(self, indices: Iterable[str]) -> None:
        for index in indices:
            self.due |= self._keys.get(index, set())
