"""Samples the mean vector of an index from its documents, and stores it in a hidden index.

random documents -> mean of each document's passages -> mean of the documents -> esblend-mean-vectors, by index uuid and generation
"""

import base64
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import structlog
from elasticsearch import AsyncElasticsearch, BadRequestError, NotFoundError
from numpy.typing import NDArray

from esblend.multi_get import existing
from mappings.attachment import EMBEDDED, Attachment
from mappings.mean_vectors import MeanVector, mean_of_documents

log = structlog.get_logger()
FORMAT = 1
MEAN_VECTORS_INDEX = "esblend-mean-vectors"
SAMPLE_DOCUMENTS = 300
"""Documents of a sample. The standard error of a query's mean dot product is then about 0.006 for MiniLM
(docs/decisions/010-mean-vector.md)."""
_PAGE_DOCUMENTS = 20
"""Documents whose vectors are read at a time: a document can have hundreds of passages."""
_SETTINGS = {"index.hidden": True, "number_of_shards": 1, "auto_expand_replicas": "0-1"}
_MAPPINGS = {
    "dynamic": False,
    "properties": {"index": {"type": "keyword"}, "uuid": {"type": "keyword"}, "generation": {"type": "keyword"}},
}


async def sample_mean_vector(
    es: AsyncElasticsearch, index: str, attachment: Attachment, *, pit: str | None = None
) -> MeanVector | None:
    """Draw documents of an index at random and average their vectors of the active generation. None: no document has vectors.

    The seed is constant, so that two processes that sample an unchanged index draw the same documents. `pit`: the id of a point
    in time to read instead of the present index. Raises ApiError.
    """
    where: dict[str, Any] = {"index": index} if pit is None else {"pit": {"id": pit}}
    only: list[dict[str, Any]] = [] if pit is None else [{"term": {"_index": index}}]
    sample = {
        "function_score": {
            "query": {"bool": {"filter": [_with_vectors(attachment), *only]}},
            "random_score": {"seed": 0, "field": "_seq_no"},
            "boost_mode": "replace",
        }
    }
    ids, count, window = await _first_ids(es, {**where, "query": sample}, SAMPLE_DOCUMENTS)
    documents: list[NDArray[np.float32]] = []
    size = min(_PAGE_DOCUMENTS, window)
    for start in range(0, len(ids), size):
        page = ids[start : start + size]
        # `fields` returns vectors also where the server leaves them out of `_source` (9.2 and later).
        vectors = await es.search(
            **where,
            size=len(page),
            source=False,
            query={"bool": {"filter": [{"ids": {"values": page}}, *only]}},
            fields=[{"field": attachment.vector_field}],
            track_total_hits=False,
        )
        documents += [_vectors_of(hit.get("fields") or {}, attachment) for hit in vectors["hits"]["hits"]]
    is_unit = attachment.generation.vector.similarity in ("dot_product", "cosine")
    return mean_of_documents(documents, count, unit=is_unit)


async def _first_ids(es: AsyncElasticsearch, search: dict[str, Any], most: int) -> tuple[list[str], int, int]:
    """The ids of the `most` documents with the highest scores, the number of matches, and a size of pages that the index allows.

    `index.max_result_window` may be smaller than `most`. Callers need not have the right to read it, so a rejected page is halved.
    """
    ids: list[str] = []
    page, after, count = most, None, 0
    while True:
        try:
            response = await es.search(
                **search,
                size=min(page, most - len(ids)),
                source=False,
                sort=[{"_score": "desc"}, {"_seq_no": "asc"}],
                search_after=after,
                track_total_hits=after is None,
            )
        except BadRequestError as error:
            if page == 1 or "max_result_window" not in str(error.body):
                raise
            page //= 2
            continue
        hits = response["hits"]["hits"]
        count = count if after else int(response["hits"]["total"]["value"])
        ids += [hit["_id"] for hit in hits]
        if len(hits) < page or len(ids) >= most:
            return ids, count, page
        after = hits[-1]["sort"]


def _with_vectors(attachment: Attachment) -> dict[str, Any]:
    # The vectors of a nested field are in other Lucene documents, so a document with passages is found by its state. Adopted
    # vectors exist before esblend writes any state.
    if attachment.generation.adopted is None:
        return {"term": {attachment.state_field: EMBEDDED}}
    return {"exists": {"field": attachment.vector_field}}


def _vectors_of(fields: Mapping[str, Any], attachment: Attachment) -> NDArray[np.float32]:
    """(passages, dims) of one hit; empty when it has no vector."""
    if attachment.is_nested:
        vectors = [passage["vector"] for passage in fields.get(attachment.passages_path, ()) if "vector" in passage]
    else:
        vectors = [fields[attachment.vector_field]] if attachment.vector_field in fields else []
    dims = attachment.generation.model.dims
    vectors = [vector for vector in vectors if len(vector) == dims]
    return np.asarray(vectors, dtype=np.float32).reshape(len(vectors), dims)


async def ensure_mean_vectors_index(es: AsyncElasticsearch) -> None:
    """Create the hidden index unless it exists."""
    if await es.indices.exists(index=MEAN_VECTORS_INDEX):
        return
    try:
        await es.indices.create(index=MEAN_VECTORS_INDEX, settings=_SETTINGS, mappings=_MAPPINGS)
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise


async def store_mean_vector(
    es: AsyncElasticsearch, mean: MeanVector, *, index: str, uuid: str, generation: str, writes: int
) -> None:
    """`writes`: the number of writes to the index when the sample was drawn (see `indexer.care.mean_vectors`)."""
    document = {
        "format": FORMAT, "index": index, "uuid": uuid, "generation": generation, "writes": writes,
        "vector": base64.b64encode(mean.vector.astype("<f4").tobytes()).decode(), "mean_squared_norm": mean.mean_squared_norm,
        "sampled": mean.sampled, "passages": mean.passages, "documents": mean.documents,
    }  # fmt: skip
    await es.index(index=MEAN_VECTORS_INDEX, id=mean_vector_id(uuid, generation), document=document)


async def delete_mean_vector(es: AsyncElasticsearch, id_: str) -> None:
    """Delete a stored mean vector; one that does not exist is not an error."""
    with contextlib.suppress(NotFoundError):
        await es.delete(index=MEAN_VECTORS_INDEX, id=id_)


async def load_mean_vectors(es: AsyncElasticsearch, ids: Sequence[str]) -> dict[str, tuple[MeanVector, int]]:
    """Stored mean vectors among `ids`, with the writes at that time. Raises ApiError, and IndexUnavailable when one cannot
    be read."""
    if not ids:
        return {}
    try:
        response = await es.mget(index=MEAN_VECTORS_INDEX, ids=list(ids))
    except NotFoundError:
        return {}
    mean_vectors: dict[str, tuple[MeanVector, int]] = {}
    for stored in existing(response["docs"], MEAN_VECTORS_INDEX):
        if stored["_source"].get("format") == FORMAT:
            known = read_mean_vector(stored["_source"])
            if known is None:
                log.warning("stored mean vector ignored: it cannot be read", id=stored["_id"])
            else:
                mean_vectors[stored["_id"]] = known
    return mean_vectors


def mean_vector_id(uuid: str, generation: str) -> str:
    """The id of the stored document."""
    return f"{uuid}-{generation}"


def read_mean_vector(source: Mapping[str, Any]) -> tuple[MeanVector, int] | None:
    """A stored mean vector, with the number of writes at that time. None if it is damaged: it is sampled anew then."""
    try:
        vector = np.frombuffer(base64.b64decode(source["vector"]), dtype="<f4").astype(np.float32)
        mean = MeanVector(
            vector,
            float(source["mean_squared_norm"]),
            int(source["sampled"]),
            int(source["passages"]),
            int(source["documents"]),
        )
        writes = int(source["writes"])
    except (KeyError, TypeError, ValueError):
        return None
    is_finite = np.isfinite(vector).all() and np.isfinite(mean.mean_squared_norm)
    is_usable = vector.size > 0 and is_finite and mean.documents > 0
    return (mean, writes) if is_usable else None
