"""Loads a BEIR folder into a separate index, attaches it, waits for its vectors, and deletes it at the end."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk

from esblend.cli.gateway_client import call
from esblend.errors import InvalidRequest
from query.lab.judgements import read_corpus

FIELDS = ("title", "text")
_TEXT = {"type": "text", "analyzer": "english"}
Progress = Callable[[str, int, int], None]
"""(step, done, total)."""


@contextmanager
def scratch_index(
    es: Elasticsearch,
    folder: Path,
    progress: Progress,
    *,
    keep_as: str | None = None,
    before: Callable[[str], object] = lambda _: None,
    check: Callable[[str], object] = lambda _: None,
    **attachment: Any,
) -> Iterator[str]:
    """The name of an index with the folder's corpus. `keep_as`: a name under which the index remains, for the next run.

    `before` gets the name before the index is attached, and `check` as soon as it is attached; they raise to end the work.
    `attachment`: further keys of the attach request. Raises InvalidRequest when the index to keep has other documents, and
    TimeoutError when the index is not covered within an hour.
    """
    name = keep_as or f"esblend-eval-{uuid.uuid4().hex[:8]}"
    try:
        if es.indices.exists(index=name):
            _require_same_size(es, name, folder)
        else:
            _fill(es, name, folder, progress)
        before(name)
        path = f"/_esblend/indices/{name}"
        call(es.options(request_timeout=300), "PUT", path, {"source_fields": list(FIELDS), **attachment})
        check(name)
        es.indices.refresh(index=name)
        _wait(es, path, progress)
        yield name
    finally:
        if keep_as is None:
            es.indices.delete(index=name, ignore_unavailable=True)


def _require_same_size(es: Elasticsearch, name: str, folder: Path) -> None:
    """An index of another collection, or one whose loading was interrupted, would be measured silently."""
    es.indices.refresh(index=name)
    count, wanted = int(es.count(index=name)["count"]), len({document["_id"] for document in read_corpus(folder)})
    if count != wanted:
        raise InvalidRequest(
            f"index [{name}] exists with {count} documents, but [{folder}] has {wanted}; delete the index, or keep it under "
            "another name"
        )


def _fill(es: Elasticsearch, name: str, folder: Path, progress: Progress) -> None:
    documents = list(read_corpus(folder))
    es.indices.create(
        index=name,
        mappings={"properties": dict.fromkeys(FIELDS, _TEXT)},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
    )
    actions = (
        {"_id": document["_id"], **{field: document.get(field, "") for field in FIELDS}} for document in documents
    )
    for done, _ in enumerate(streaming_bulk(es, actions, index=name), 1):
        if done % 200 == 0 or done == len(documents):
            progress("Indexing", done, len(documents))
    es.indices.refresh(index=name)


def _wait(es: Elasticsearch, path: str, progress: Progress) -> None:
    for _ in range(3600):
        params = {"wait_for_coverage": "1.0", "timeout": "1s"}
        status = call(es.options(ignore_status=408), "GET", f"{path}/status", params=params)
        progress("Embedding", status["documents"] - status["pending"], status["documents"])
        if not status["pending"]:
            return
    raise TimeoutError("the scratch index was not covered within an hour")
