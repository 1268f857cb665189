"""Attachments of search targets, read from Elasticsearch and cached for a second.

cached, under half a second old -> used
cached, up to a second old      -> used, and read again in the background
older or unknown                -> read once; all searches that need it wait for the same read
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from elasticsearch import AsyncElasticsearch

from esblend.errors import IndexClosed, InvalidRequest, NoIndices
from mappings.attachment import Attachment
from mappings.index_lookup import IndexView, not_attached, view_indices
from query.targets.target import Target

_CACHE_SECONDS = 1.0
_REFRESH_SECONDS = 0.5
"""The age at which an entry that is used is read again in the background, so that under steady traffic no search waits."""
_CACHE_ENTRIES = 1000
_MAX_INDICES = 1000
_DATE_MATH = re.compile(r"<[^<>]*>")
_Key = tuple[str, str, str]
"""Name, rights of the caller, and what else decides which indices are read: prior authorisation and options."""
_RESOLUTION = ("ignore_unavailable", "allow_no_indices", "expand_wildcards")


@dataclass(frozen=True)
class Requester:
    """The caller on whose behalf metadata is read, and a cache key for the caller's rights."""

    client: Callable[[], AsyncElasticsearch]
    """Makes a client with the caller's rights."""
    key: str
    already_authorised: bool = False
    """Whether Elasticsearch has already authorised the caller for these indices, by a point in time or by a write."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """URL parameters of the search that decide how names are resolved."""


@dataclass(frozen=True)
class _Indices:
    """The open indices behind a name, and what searches need of them, which is computed once for each read."""

    views: Mapping[str, IndexView]

    @cached_property
    def unattached(self) -> tuple[str, ...]:
        return tuple(index for index, view in self.views.items() if view.attachment is None)

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """One for each distinct attachment. Indices without an attachment belong to the first one."""
        groups: dict[str, dict[str, IndexView]] = {}
        for index, view in self.views.items():
            if view.attachment is not None:
                groups.setdefault(repr(_search_identity(view.attachment)), {})[index] = view
        targets = tuple(map(_target, groups.values()))
        if not self.unattached or not targets:
            return targets
        first, *others = targets
        unattached_views = [self.views[index] for index in self.unattached]
        first = replace(
            first,
            analyzers=(*first.analyzers, *(view.analyzers for view in unattached_views)),
            fields=first.fields.union(*(view.fields for view in unattached_views)),
            can_search_numbers=False,
            unattached=self.unattached,
        )
        return (first, *others)


class Metadata:
    """Attachments by search target. The cache sees a change within a second.

    `own_es`: the gateway's own client, if it has credentials. A caller who may only search has no right to read mappings, so
    the caller's rights decide which indices it may search, and the gateway's own rights read their mappings.
    """

    def __init__(self, own_es: AsyncElasticsearch | None) -> None:
        self._own_es = own_es
        self._cache: dict[_Key, tuple[float, _Indices]] = {}
        self._reads: dict[_Key, asyncio.Task[_Indices]] = {}

    async def target(self, requester: Requester, name: str) -> Target:
        """The indices behind `name` that the caller may search.

        Raises IndexNotFound, NotAttached, or InvalidRequest when their attachments differ.
        """
        targets = await self.targets(requester, name)
        if not targets:
            raise NoIndices(f"[{name}] matches no index: PUT /_esblend/indices/... attaches one")
        if len(targets) > 1:
            raise InvalidRequest(f"[{name}] matches indices with different attachments: search each of them separately")
        return targets[0]

    async def targets(self, requester: Requester, name: str) -> list[Target]:
        """As `target`, but one target per distinct attachment; empty when `name` may match no index and does not.

        Indices without an attachment belong to the first target. Raises NotAttached when no index has one.
        """
        indices = await self._indices(requester, name)
        if indices.unattached and len(indices.unattached) == len(indices.views):
            raise not_attached(*indices.unattached)
        return list(indices.targets)

    async def attached(self, requester: Requester, indices: Iterable[str]) -> dict[str, tuple[str, Attachment]]:
        """UUID and attachment of each attached index among `indices`."""
        attached: dict[str, tuple[str, Attachment]] = {}
        for index in sorted(indices):
            for name, view in (await self._indices(requester, index)).views.items():
                if view.attachment is not None:
                    attached[name] = view.uuid, view.attachment
        return attached

    def forget(self) -> None:
        """Read everything again. Reads in progress may be older than the change, so no further search uses them."""
        self._cache.clear()
        self._reads.clear()

    async def _indices(self, requester: Requester, name: str) -> "_Indices":
        options = {key: value for key, value in requester.options.items() if key in _RESOLUTION}
        _refuse_remote(name)
        key = (name, requester.key, repr((requester.already_authorised, sorted(options.items()))))
        read_at, indices = self._cache.get(key, (float("-inf"), _Indices({})))
        age = time.monotonic() - read_at
        if age < _REFRESH_SECONDS:
            return indices
        read = self._reads.get(key)
        if read is None:
            read = self._reads[key] = asyncio.create_task(self._read(key, requester, name, options))
            read.add_done_callback(lambda done: self._read_ended(key, done))
        # Other searches share the read, so it continues when the search that began it is cancelled.
        return indices if age < _CACHE_SECONDS else await asyncio.shield(read)

    def _read_ended(self, key: _Key, read: asyncio.Task["_Indices"]) -> None:
        if self._reads.get(key) is read:
            del self._reads[key]
        if not read.cancelled() and read.exception() is not None:
            self._cache.pop(key, None)  # the next search reads it again, and reports the error

    async def _read(self, key: _Key, requester: Requester, name: str, options: Mapping[str, Any]) -> "_Indices":
        began = time.monotonic()
        if self._own_es is None or requester.already_authorised:
            views = await view_indices(self._own_es or requester.client(), name, **options)
        else:
            searchable = set((await requester.client().field_caps(index=name, fields="_id", **options))["indices"])
            every = await view_indices(self._own_es, name, **options) if searchable else {}
            views = {index: view for index, view in every.items() if index in searchable}
        closed = [index for index, view in views.items() if view.is_closed]
        if closed and str(options.get("ignore_unavailable", "false")).lower() not in ("", "true"):
            raise IndexClosed(f"index [{closed[0]}] is closed")
        indices = _Indices({index: view for index, view in views.items() if not view.is_closed})
        if self._reads.get(key) is asyncio.current_task():  # not removed in the meantime
            if len(self._cache) >= _CACHE_ENTRIES:
                self._cache.clear()
            self._cache[key] = (began, indices)
        return indices


def _refuse_remote(name: str) -> None:
    """Raises InvalidRequest on names of other clusters' indices. Date math, `<logs-{now{HH:mm}}>`, may contain colons."""
    for part in _DATE_MATH.sub("", name).split(","):
        if ":" in part:
            raise InvalidRequest(
                f"[{part}] is an index of a remote cluster, whose attachment cannot be read; send this search to a gateway of that "
                "cluster"
            )


def _target(views: Mapping[str, IndexView]) -> Target:
    """The target of indices that share one attachment."""
    [attachment, *_] = [view.attachment for view in views.values() if view.attachment is not None]
    return Target(
        tuple(views),
        attachment,
        tuple(view.analyzers for view in views.values()),
        tuple(view.uuid for view in views.values()),
        frozenset().union(*(view.fields for view in views.values())),
        [(view.shards, view.can_search_numbers) for view in views.values()] == [(1, True)],
    )


def _search_identity(attachment: Attachment) -> tuple[object, ...]:
    generation = attachment.generation
    return (
        attachment.root, attachment.vector_field, attachment.source_fields, attachment.defaults, generation.searched_by.digest,
        generation.form, generation.vector.layout, generation.vector.similarity, generation.vector.oversample,
    )  # fmt: skip


async def indices_of(es: AsyncElasticsearch, pit: Mapping[str, Any]) -> str:
    """The indices of a point in time that contain documents, comma-separated."""
    aggregations = {"indices": {"terms": {"field": "_index", "size": _MAX_INDICES}}}
    response = await es.search(pit=pit, size=0, track_total_hits=False, aggregations=aggregations)
    return ",".join(bucket["key"] for bucket in response["aggregations"]["indices"]["buckets"])
