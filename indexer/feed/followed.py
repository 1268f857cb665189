"""The indices that a feed process follows, and those among them that need a step.

active: may have work without a further write, so each look reads its shard stats
due:    its shard stats were read, or a task ended, since its last step began
"""

from collections import defaultdict
from collections.abc import Iterable

from indexer.feed.index_feed import IndexFeed


class Followed:
    """The feeds of the followed indices, by the id of their checkpoint: one for each generation of an index."""

    def __init__(self) -> None:
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
        self._keys[index].discard(key)
        if not self._keys[index]:
            del self._keys[index]

    def settle(self, key: str) -> None:
        """Note whether the index is still active after a step."""
        if key in self.feeds:
            if self.feeds[key].is_at_rest:
                self.active.discard(key)
            else:
                self.active.add(key)

    def make_due(self, indices: Iterable[str]) -> None:
        for index in indices:
            self.due |= self._keys.get(index, set())
