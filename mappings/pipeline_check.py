"""Checks that an index's final pipeline leaves texts alone that it has already processed.

With external versioning a worker writes the whole document again, and Elasticsearch runs the final pipeline again. A pipeline
that changes the text each time would leave a vector of an earlier text.
"""

from typing import Any

from elasticsearch import ApiError, AsyncElasticsearch

from esblend.errors import InvalidRequest
from mappings.source import source_text

_SAMPLE = 20


async def check_final_pipeline(
    es: AsyncElasticsearch, index: str, pipeline: str | None, source_fields: list[str]
) -> None:
    """Try the pipeline on some documents of the index. Raises InvalidRequest when it changes their source fields."""
    if pipeline is None:
        return
    hits = (await es.search(index=index, size=_SAMPLE))["hits"]["hits"]
    docs = [{"_index": hit["_index"], "_id": hit["_id"], "_source": hit["_source"]} for hit in hits if "_source" in hit]
    if not docs:
        return
    try:
        response = await es.ingest.simulate(id=pipeline, docs=docs)
    except ApiError as error:
        if error.meta.status == 403:
            return  # the caller may not simulate pipelines
        raise
    for doc, result in zip(docs, response["docs"], strict=True):
        processed: dict[str, Any] = (result.get("doc") or {}).get("_source") or doc["_source"]
        if source_text(processed, source_fields) != source_text(doc["_source"], source_fields):
            raise InvalidRequest(
                f"the final pipeline [{pipeline}] of index [{index}] changes source fields again when a document is written again, "
                "as workers do with [versioning: external]: make the pipeline idempotent, or use it as [index.default_pipeline]"
            )
