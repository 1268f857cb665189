"""Checks that an index's final pipeline leaves texts alone that it has already processed.

With external versioning a worker writes the whole document again, and Elasticsearch runs the final pipeline again. A pipeline
that changes the text each time would leave a vector of an earlier text.
"""

from collections.abc import Sequence
from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch

from esblend.errors import InvalidRequest
from mappings.source import source_text

_SAMPLE = 20
_TEXT = " Esblend <b>tries</b> this Pipeline, once and again.  "


async def check_final_pipeline(
    es: AsyncElasticsearch, index: str, pipeline: str | None, source_fields: list[str]
) -> None:
    """Try the pipeline on some documents of the index, or on an invented one if there are none. Raises InvalidRequest when it
    changes source fields that it has processed before."""
    if pipeline is None:
        return
    hits = (await es.search(index=index, size=_SAMPLE))["hits"]["hits"]
    before: list[dict[str, Any]] = [hit["_source"] for hit in hits if "_source" in hit]
    try:
        if not before:
            before = await _processed(es, index, pipeline, [_invented(source_fields)])
        after = await _processed(es, index, pipeline, before)
    except ApiError as error:
        if error.meta.status == 403:
            return  # the caller may not simulate pipelines
        raise
    for first, second in zip(before, after, strict=True):
        if source_text(second, source_fields) != source_text(first, source_fields):
            raise InvalidRequest(
                f"the final pipeline [{pipeline}] of index [{index}] changes source fields again when a document is written again, "
                "as workers do with [versioning: external]: make the pipeline idempotent, or use it as [index.default_pipeline]"
            )


async def _processed(
    es: AsyncElasticsearch, index: str, pipeline: str, sources: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The documents after the pipeline. A document that the pipeline drops or fails on is returned unchanged."""
    docs = [{"_index": index, "_id": str(number), "_source": source} for number, source in enumerate(sources)]
    response = await es.ingest.simulate(id=pipeline, docs=docs)
    return [
        (result.get("doc") or {}).get("_source") or source
        for source, result in zip(sources, response["docs"], strict=True)
    ]


def _invented(source_fields: Sequence[str]) -> dict[str, Any]:
    """A document with a text in each source field."""
    source: dict[str, Any] = {}
    for field in source_fields:
        *objects, name = field.split(".")
        level = source
        for step in objects:
            level = level.setdefault(step, {})
            if not isinstance(level, dict):
                break
        else:
            level[name] = _TEXT
    return source
