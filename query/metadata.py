"""What the gateway knows of attached indices, asked from Elasticsearch and kept for a moment."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from elasticsearch import AsyncElasticsearch

from esblend.errors import InvalidRequest, NotAttached
from mappings.attach import IndexView, view_indices
from mappings.attachment import Attachment

_KEEP_SECONDS = 1.0
_KEEP_MOST = 1000


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


class Metadata:
    """Attachments by search target. A change is seen within a second."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[float, dict[str, IndexView]]] = {}

    async def target(self, es: AsyncElasticsearch, name: str, caller: str) -> Target:
        """The indices that `name` stands for, as `caller` (a key that differs between rights) may see them.

        Raises IndexNotFound, NotAttached, or InvalidRequest when their attachments differ.
        """
        targets = await self.targets(es, name, caller)
        if len(targets) > 1:
            raise InvalidRequest(f"[{name}] stands for indices with different attachments; search them one by one")
        return targets[0]

    async def targets(self, es: AsyncElasticsearch, name: str, caller: str) -> list[Target]:
        """As `target`, one for each attachment among the indices."""
        found = await self._views(es, name, caller)
        bare = [index for index, view in found.items() if view.attachment is None]
        if bare or not found:
            named = ", ".join(bare[:5]) or name
            raise NotAttached(
                f"index [{named}] is not attached: PUT /_esblend/indices/{bare[0] if bare else name} attaches it"
            )
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

    async def attached(self, es: AsyncElasticsearch, indices: Iterable[str], caller: str) -> dict[str, Attachment]:
        """The attachments of those of `indices` that have one."""
        found: dict[str, Attachment] = {}
        for index in sorted(indices):
            for name, view in (await self._views(es, index, caller)).items():
                if view.attachment is not None:
                    found[name] = view.attachment
        return found

    def forget(self) -> None:
        self._kept.clear()

    async def _views(self, es: AsyncElasticsearch, name: str, caller: str) -> dict[str, IndexView]:
        kept = self._kept.get((name, caller))
        if kept and time.monotonic() - kept[0] < _KEEP_SECONDS:
            return kept[1]
        found = await view_indices(es, name)
        if len(self._kept) >= _KEEP_MOST:
            self._kept.clear()
        self._kept[name, caller] = (time.monotonic(), found)
        return found


def _search_identity(attachment: Attachment) -> tuple[object, ...]:
    generation = attachment.generation
    return (attachment.root, generation.model.digest, attachment.source_fields, attachment.defaults)
