"""Checks that a server and an index support an attachment, before anything changes. Errors say how to fix the problem."""

from collections.abc import Mapping
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch

from esblend.errors import InvalidRequest
from mappings.attachment import Generation, VectorOptions
from mappings.index_lookup import AttachedIndex
from mappings.problems import name_problem, problems_of

Version = tuple[int, int]
OLDEST: Version = (8, 14)
# First version with each option, from Elasticsearch's documentation of `dense_vector` and of the kNN query.
_SINCE: dict[str, Version] = {
    "int4_hnsw": (8, 15), "int4_flat": (8, 15), "bbq_hnsw": (8, 16), "bbq_flat": (8, 16), "oversample": (8, 18),
    "bfloat16": (9, 3),
}  # fmt: skip
_K_OF_KNN_QUERY: Version = (8, 15)
_TOTAL_FIELDS, _NESTED_FIELDS = 1000, 50
"""Elasticsearch's defaults when the index sets no limit (nested fields: 100 from 9.1 on, which the settings then contain)."""


async def check_capabilities(
    es: AsyncElasticsearch, attached: AttachedIndex, generation: Generation, additions: Mapping[str, Any]
) -> None:
    """Raises InvalidRequest with the reason when the index cannot have this attachment, which is not written yet.

    `generation` and `additions`: the new generation and its mapping.
    """
    version = await read_version(es)
    if version is not None:
        check_version(version, generation.vector)
    settings = await read_settings(es, attached.index)
    name = name_problem(attached.index)
    for problem in [name] if name else problems_of(attached.index, settings, attached.mapping, attached.attachment):
        raise InvalidRequest(str(problem))
    _check_limits(attached.index, settings, attached.mapping, additions)


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


def knn_query_has_k(version: Version | None) -> bool:
    """Whether a `knn` query may have `k`. Without it, `num_candidates` is the number of matches on each shard.

    `version`: of the server; an unknown one is taken for a recent one.
    """
    return version is None or version >= _K_OF_KNN_QUERY


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


async def read_settings(es: AsyncElasticsearch, index: str) -> dict[str, Any]:
    """The flat settings of one concrete index, without defaults."""
    response = await es.indices.get_settings(index=index, flat_settings=True)
    return dict(response.body[index]["settings"])


def _check_limits(
    index: str, settings: Mapping[str, Any], mapping: Mapping[str, Any], additions: Mapping[str, Any]
) -> None:
    properties = mapping.get("properties") or {}
    _check_limit(
        index, settings, "total_fields", _TOTAL_FIELDS,
        count_fields(properties) + len(mapping.get("runtime") or {}), count_fields(additions),
    )  # fmt: skip
    if "index.mapping.nested_fields.limit" in settings:
        _check_limit(
            index, settings, "nested_fields", _NESTED_FIELDS,
            count_fields(properties, "nested"), count_fields(additions, "nested"),
        )  # fmt: skip


def _check_limit(index: str, settings: Mapping[str, Any], kind: str, default: int, present: int, added: int) -> None:
    limit = int(settings.get(f"index.mapping.{kind}.limit", default))
    if present + added > limit:
        raise InvalidRequest(
            f"index [{index}] has {present} of [index.mapping.{kind}.limit] {limit} fields, and the attachment adds {added}: "
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
