"""Decides whose shard stats a round reads, so that thousands of indices without writes cost almost nothing.

counters of writes of the inactive indices -> shard stats of the active indices and of those whose counter changed
the cluster state changed, or every five minutes -> shard stats of all indices
"""

import time
from collections.abc import Collection, Set
from typing import Any
from urllib.parse import quote

from elasticsearch import AsyncElasticsearch

from indexer.feed import url_lists
from indexer.feed.shard_changes import IndexShards, read_shards
from mappings.index_lookup import ATTACHABLE_INDICES

_SHARE = 20
"""Requests for all indices take at most this part of the time, as far as a change is noticed within two seconds."""
_LONGEST_PAUSE_SECONDS = 1.5
_REST_SECONDS = 30.0
"""After this time without a change, the counters are read after the longest pause."""
_ALL_SECONDS = 300.0
_MAX_REQUESTS = 4
"""More names than fit into this number of requests: one request for all indices of the cluster is cheaper. So it is while less than
half of these are other indices."""
_MAX_STATS_REQUESTS = 16
"""As `_MAX_REQUESTS`, for the shard stats of active and changed indices: these are more expensive, and few indices are active."""
_ALL = quote(ATTACHABLE_INDICES, safe=",*")
_COUNTERS = ",".join(f"indices.*.primaries.indexing.{name}_total" for name in ("index", "delete", "noop_update"))


class ShardWatch:
    """The shard stats of the followed indices. `shards`: as they were last read, by the name of the index."""

    def __init__(self, es: AsyncElasticsearch, beside: str) -> None:
        """`beside`: another index whose counters are read with those of the followed indices."""
        self.shards: dict[str, IndexShards] = {}
        self.beside_counters: Any = None
        """None: the index does not exist, or this role may not monitor it."""
        self._beside = beside
        self._other_indices: int | None = None
        """The number of indices of the cluster that are not followed, by the last request for all."""
        self._changed_at = time.monotonic()
        self._es = es
        self._is_suspect = True
        self._all_read_at = float("-inf")
        self._all_seconds = 0.0
        self._counters: dict[str, Any] = {}
        self._counted_at = float("-inf")
        self._count_seconds = 0.0

    def suspect_all(self) -> None:
        """Read all shard stats as soon as their cost permits: the cluster state changed, so a shard may have another history."""
        self._is_suspect = True

    async def look(self, indices: Set[str], active: Set[str]) -> set[str]:
        """Read the shard stats of the `active` indices, and of those that may have changed. Returns the names of both.

        An index is inactive when all of its changes are done and its global checkpoints have reached its highest sequence numbers:
        every further write increases a counter. The counters are read before the shard stats, so they include no write that the
        shard stats lack.
        """
        now = time.monotonic()
        if self._is_all_due(now):
            return await self._read_all(indices, active)
        if active:
            self._changed_at = now
        counters = await self._read_counters(indices - active) if self._is_count_due(now) else {}
        changed = {name for name in counters if counters[name] != self._counters.get(name)}
        if changed:
            self._changed_at = now
        names = {*active, *changed} & indices
        most = 1 if 2 * len(names) >= len(indices) + (self._other_indices or 0) else _MAX_STATS_REQUESTS
        read = await read_shards(self._es, sorted(names), is_strict=False, most_requests=most)
        self.shards = {name: state for name, state in self.shards.items() if name not in names} | read
        self._note(self._counters | counters)
        return names

    def _note(self, counters: dict[str, Any]) -> None:
        """After the shard stats, and for the indices that these have: the next look finds the same changes after an error, and
        those of an index whose node did not answer."""
        self._counters = {name: counter for name, counter in counters.items() if name in self.shards}

    def _is_all_due(self, now: float) -> bool:
        since = now - self._all_read_at
        return since >= max(_ALL_SECONDS, 10 * _SHARE * self._all_seconds) or (
            self._is_suspect and since >= _SHARE * self._all_seconds
        )

    def _is_count_due(self, now: float) -> bool:
        is_at_rest = now - self._changed_at >= _REST_SECONDS
        pause = _LONGEST_PAUSE_SECONDS if is_at_rest else min(_LONGEST_PAUSE_SECONDS, _SHARE * self._count_seconds)
        return now - self._counted_at >= pause

    async def _read_all(self, indices: Set[str], active: Set[str]) -> set[str]:
        began = time.monotonic()
        counters = await self._read_counters(indices)
        before, self.shards = self.shards, await read_shards(self._es, sorted(indices), is_strict=False)
        self._note(counters)
        self._all_read_at = time.monotonic()
        self._all_seconds = self._all_read_at - began
        self._is_suspect = False
        changed = {name for name in indices if self.shards.get(name) != before.get(name)}
        return changed | (active & indices)

    async def _read_counters(self, names: Set[str]) -> dict[str, Any]:
        """The counters of writes of each index; None for one that is closed or deleted. Notes those of the other index, too."""
        began = time.monotonic()
        counters: dict[str, Any] = {}
        targets = _targets({*names, self._beside})
        if len(targets) > 1 and (self._other_indices is None or self._other_indices < len(names)):
            targets = [_ALL]
        for target in targets:
            # Without `ignore_unavailable`, which the client does not know here, one deleted index would be an error.
            response = await self._es.perform_request(
                "GET",
                f"/{target}/_stats/indexing",
                params={
                    "level": "indices",
                    "filter_path": _COUNTERS,
                    "expand_wildcards": "open,hidden",
                    "ignore_unavailable": "true",
                },
                headers={"accept": "application/json"},
            )
            counters |= response.body.get("indices", {})
        if targets == [_ALL]:
            self._other_indices = len(counters.keys() - names)
        self._counted_at = time.monotonic()
        self._count_seconds = self._counted_at - began
        self.beside_counters = counters.get(self._beside)
        return {name: counters.get(name) for name in names}


def _targets(names: Collection[str]) -> list[str]:
    """Names of indices, or a pattern for all: each target fits into a URL and is encoded for it."""
    targets = [",".join(map(quote, portion)) for portion in url_lists.portions(sorted(names))]
    return targets if len(targets) <= _MAX_REQUESTS else [_ALL]
