"""Checks that a server and an index support an attachment, before anything changes. Errors say how to fix the problem."""

from collections.abc import Mapping
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch

from esblend.errors import InvalidRequest
from mappings.attachment import Generation, VectorOptions

Version = tuple[int, int]
OLDEST: Version = (8, 14)
# First version with each option, from Elasticsearch's documentation of `dense_vector` and of the kNN query.
_SINCE: dict[str, Version] = {
    "int4_hnsw": (8, 15), "int4_flat": (8, 15), "bbq_hnsw": (8, 16), "bbq_flat": (8, 16), "oversample": (8, 18),
    "bfloat16": (9, 3),
}  # fmt: skip
_TOTAL_FIELDS, _NESTED_FIELDS = 1000, 50
"""Elasticsearch's defaults when the index sets no limit (nested fields: 100 from 9.1 on, which the settings then contain)."""


async def check_capabilities(
    es: AsyncElasticsearch, index: str, mapping: Mapping[str, Any], generation: Generation, additions: Mapping[str, Any]
) -> None:
    """Raises InvalidRequest with the reason when the index cannot be attached with these settings."""
    version = await read_version(es)
    if version is not None:
        check_version(version, generation.vector)
    await _check_settings(es, index, mapping, generation, additions)


async def read_version(es: AsyncElasticsearch) -> Version | None:
    """(major, minor) of the server; None when the caller has no right to read it."""
    try:
        number = (await es.info())["version"]["number"]
    except ApiError as error:
        if error.meta.status == 403:
            return None
        raise
    major, minor = number.split(".")[:2]
    return int(major), int(minor)


def check_version(version: Version, vector: VectorOptions) -> None:
    """Raises InvalidRequest when a server of this version does not support these vector options."""
    if version < OLDEST:
        raise InvalidRequest(f"Elasticsearch {_show(version)} is too old: esblend needs {_show(OLDEST)} or later")
    options: dict[str, str] = {"[vector.type]": vector.type, "[vector.element_type]": vector.element_type}
    if vector.oversample is not None:
        options["[vector.oversample]"] = "oversample"
    for key, value in options.items():
        since = _SINCE.get(value, OLDEST)
        if version < since:
            raise InvalidRequest(
                f"{key} {value} needs Elasticsearch {_show(since)} or later; this server is {_show(version)}"
            )


async def _check_settings(
    es: AsyncElasticsearch, index: str, mapping: Mapping[str, Any], generation: Generation, additions: Mapping[str, Any]
) -> None:
    response = await es.indices.get_settings(index=index, flat_settings=True)
    settings = response.body[index]["settings"]
    _check_source(index, mapping, settings)
    for block in ("read_only", "metadata", "write"):
        if settings.get(f"index.blocks.{block}") == "true":
            raise InvalidRequest(
                f"index [{index}] has [index.blocks.{block}] set, so vectors cannot be written: set it to false, then attach"
            )
    if settings.get("index.store.type") == "snapshot":
        raise InvalidRequest(
            f"index [{index}] is a mounted snapshot, so vectors cannot be written: restore it as a regular index, then attach"
        )
    is_sorted = settings.get("index.sort.field") or settings.get("index.mode") in ("logsdb", "time_series")
    if is_sorted and generation.vector.layout == "passages":
        raise InvalidRequest(
            f"index [{index}] is sorted ([index.sort.field], or by its [index.mode]), and Elasticsearch allows no nested fields "
            "there: attach it with [vector.layout: flat], one vector per document"
        )
    _check_limit(
        index, settings, "total_fields", _TOTAL_FIELDS,
        count_fields(mapping.get("properties") or {}) + len(mapping.get("runtime") or {}), count_fields(additions),
    )  # fmt: skip
    if "index.mapping.nested_fields.limit" in settings:
        _check_limit(
            index, settings, "nested_fields", _NESTED_FIELDS,
            count_fields(mapping.get("properties") or {}, "nested"), count_fields(additions, "nested"),
        )  # fmt: skip


def _check_source(index: str, mapping: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    source = mapping.get("_source") or {}
    if source.get("enabled") is False or "disabled" in (source.get("mode"), settings.get("index.mapping.source.mode")):
        raise InvalidRequest(
            f"index [{index}] does not store [_source], so its texts cannot be read: re-index with [_source] enabled"
        )
    if source.get("includes") or source.get("excludes"):
        raise InvalidRequest(
            f"index [{index}] stores only a part of [_source], and a partial update would lose the rest: "
            "re-index without [_source.includes] and [_source.excludes]"
        )


def _check_limit(index: str, settings: Mapping[str, Any], what: str, default: int, present: int, added: int) -> None:
    limit = int(settings.get(f"index.mapping.{what}.limit", default))
    if present + added > limit:
        raise InvalidRequest(
            f"index [{index}] has {present} of [index.mapping.{what}.limit] {limit} fields, and the attachment adds {added}: "
            f"raise the limit to {present + added} or more, then attach"
        )


def count_fields(properties: Mapping[str, Any], kind: str | None = None) -> int:
    """Fields, objects and multi-fields, counted as Elasticsearch does for its limit; with `kind`, only fields of that type."""
    total = 0
    for field in properties.values():
        total += kind is None or field.get("type") == kind
        for inside in ("properties", "fields"):
            total += count_fields(field.get(inside) or {}, kind)
    return total


def _show(version: Version) -> str:
    return ".".join(map(str, version))
