"""Reads the attachments of all indices, and the requests for one, again and again.

Elasticsearch cannot tell which mappings changed, so a survey asks for the relevant part of every mapping, in one request. It parses
only attachments that changed since the last one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import AsyncElasticsearch

from mappings.attachment import META_KEY, Attachment, is_attached
from mappings.index_lookup import ATTACHABLE_INDICES, readable_attachment

_PATHS = f"*.mappings._meta.{META_KEY},*.mappings.properties.**.meta.{META_KEY}"


@dataclass(frozen=True)
class Survey:
    """`attachments`: every attached index, open or closed; None for an attachment that this version cannot read. `requesting`: the
    open indices whose mapping requests an attachment, valid or not (see `mappings.mapping_requests`)."""

    attachments: Mapping[str, Attachment | None]
    requesting: frozenset[str]


class AttachmentSurvey:
    """Remembers the attachments that it has parsed."""

    def __init__(self, es: AsyncElasticsearch) -> None:
        self._es = es
        self._parsed: dict[str, tuple[Any, Attachment | None]] = {}
        """The attachment of each index as it is stored, and parsed."""

    async def read(self) -> Survey:
        response = await self._es.indices.get_mapping(
            index=ATTACHABLE_INDICES, expand_wildcards=["open", "closed", "hidden"], filter_path=_PATHS
        )
        mappings = {index: body["mappings"] for index, body in response.items()}
        self._parsed = {
            index: self._parse(index, mapping) for index, mapping in mappings.items() if is_attached(mapping)
        }
        requesting = {index for index, mapping in mappings.items() if _may_request(mapping)}
        return Survey(
            {index: attachment for index, (_, attachment) in self._parsed.items()}, await self._open(requesting)
        )

    def _parse(self, index: str, mapping: dict[str, Any]) -> tuple[Any, Attachment | None]:
        stored = mapping["_meta"][META_KEY]
        known = self._parsed.get(index)
        return known if known is not None and known[0] == stored else (stored, readable_attachment(mapping))

    async def _open(self, indices: set[str]) -> frozenset[str]:
        """The open ones among these indices: a worker cannot attach a closed index."""
        if not indices:
            return frozenset()
        response = await self._es.indices.get_settings(
            index=ATTACHABLE_INDICES,
            expand_wildcards=["open", "hidden"],
            filter_path="*.settings.index.uuid",
        )
        return frozenset(indices & response.body.keys())


def _may_request(mapping: Mapping[str, Any]) -> bool:
    meta = (mapping.get("_meta") or {}).get(META_KEY)
    return "generations" not in meta if meta and isinstance(meta, Mapping) else bool(mapping.get("properties"))
