"""What the gateway knows of attached indices, asked from Elasticsearch and kept for a moment."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from elasticsearch import AsyncElasticsearch

from esblend.errors import InvalidRequest, NotAttached
from mappings.attach_index import IndexView, view_indices
from mappings.attachment import Attachment

_KEEP_SECONDS = 1.0
_KEEP_MOST = 1000
_MOST_INDICES = 1000
_RESOLUTION = ("ignore_unavailable", "allow_no_indices", "expand_wildcards")


@dataclass(frozen=True)
class Target:
    """What a search goes to: concrete indices that share one attachment."""

    indices: tuple[str, ...]
    attachment: Attachment
    analyzers: tuple[dict[str, str], ...]
    """For each index, the search analyzer of each text field."""

    def share_analyzer(self, fields: Sequence[str]) -> bool:
        """Whether `fields` (boosts allowed) are known in every index and analysed alike there."""
        names = [field.partition("^")[0] for field in fields]
        return all(len({analyzers.get(name, name) for name in names}) == 1 for analyzers in self.analyzers)

    def using(self, generation: str) -> "Target":
        """The same with another generation. Raises InvalidRequest when there is none of that name."""
        return replace(self, attachment=self.attachment.using(generation))


@dataclass(frozen=True)
class Requester:
    """Who wants to know: a client with the caller's rights, and a key that differs between rights."""

    es: AsyncElasticsearch
    key: str
    already_authorised: bool = False
    """Whether the caller was already let in to the indices by Elasticsearch: they stand in a point in time, or it wrote to them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """How names are resolved: URL parameters of the search."""


class Metadata:
    """Attachments by search target. A change is seen within a second.

    `own`: the gateway's own client where it has credentials. A caller who may only search has no right to read mappings: which
    indices it may search is asked with its rights, what is in their mappings with the gateway's.
    """

    def __init__(self, own: AsyncElasticsearch | None) -> None:
        self._own = own
        self._kept: dict[tuple[str, str, str], tuple[float, dict[str, IndexView]]] = {}

    async def target(self, reader: Requester, name: str) -> Target:
        """The indices that `name` stands for, as the reader may see them.

        Raises IndexNotFound, NotAttached, or InvalidRequest when their attachments differ.
        """
        targets = await self.targets(reader, name)
        if not targets:
            raise NotAttached(f"[{name}] stands for no index; attach one with PUT /_esblend/indices/...")
        if len(targets) > 1:
            raise InvalidRequest(f"[{name}] stands for indices with different attachments; search them one by one")
        return targets[0]

    async def targets(self, reader: Requester, name: str) -> list[Target]:
        """As `target`, one for each attachment among the indices; none where the name may stand for nothing."""
        found = await self._views(reader, name)
        bare = [index for index, view in found.items() if view.attachment is None]
        if bare:
            named = ", ".join(bare[:5])
            raise NotAttached(f"index [{named}] is not attached: PUT /_esblend/indices/{bare[0]} attaches it")
        alike: dict[str, list[tuple[str, Attachment, dict[str, str]]]] = {}
        for index, view in found.items():
            if view.attachment is not None:
                alike.setdefault(repr(_search_identity(view.attachment)), []).append(
                    (index, view.attachment, view.analyzers)
                )
        return [
            Target(tuple(index for index, _, _ in group), group[0][1], tuple(analyzers for _, _, analyzers in group))
            for group in alike.values()
        ]

    async def attached(self, reader: Requester, indices: Iterable[str]) -> dict[str, Attachment]:
        """The attachments of those of `indices` that have one."""
        found: dict[str, Attachment] = {}
        for index in sorted(indices):
            for name, view in (await self._views(reader, index)).items():
                if view.attachment is not None:
                    found[name] = view.attachment
        return found

    def forget(self) -> None:
        self._kept.clear()

    async def _views(self, reader: Requester, name: str) -> dict[str, IndexView]:
        options = {key: value for key, value in reader.options.items() if key in _RESOLUTION}
        place = (name, reader.key, repr(sorted(options.items())))
        kept = self._kept.get(place)
        if kept and time.monotonic() - kept[0] < _KEEP_SECONDS:
            return kept[1]
        if self._own is None or reader.already_authorised:
            found = await view_indices(self._own or reader.es, name, **options)
        else:
            searchable = set((await reader.es.field_caps(index=name, fields="_id", **options))["indices"])
            every = await view_indices(self._own, name, **options) if searchable else {}
            found = {index: view for index, view in every.items() if index in searchable}
        if len(self._kept) >= _KEEP_MOST:
            self._kept.clear()
        self._kept[place] = (time.monotonic(), found)
        return found


def _search_identity(attachment: Attachment) -> tuple[object, ...]:
    generation = attachment.generation
    return (
        attachment.root, attachment.vector_field, attachment.source_fields, attachment.defaults, generation.searched_by.digest,
        generation.form, generation.vector.layout, generation.vector.similarity, generation.vector.oversample,
    )  # fmt: skip


async def indices_of(es: AsyncElasticsearch, pit: Mapping[str, Any]) -> str:
    """The indices of a point in time, comma-separated: those of them that hold documents."""
    aggregations = {"indices": {"terms": {"field": "_index", "size": _MOST_INDICES}}}
    answer = await es.search(pit=pit, size=0, track_total_hits=False, aggregations=aggregations)
    return ",".join(bucket["key"] for bucket in answer["aggregations"]["indices"]["buckets"])
