"""Makes and writes dead letters, and deletes letters of documents that were embedded or deleted since then."""

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict

import structlog
from elasticsearch import BadRequestError, Elasticsearch

from esblend.errors import IndexUnavailable
from esblend.logs import without_preview
from esblend.multi_get import existing
from mappings.attachment import DEAD_LETTER
from mappings.dead_letter_index import (
    DEAD_LETTERS_INDEX,
    DEAD_LETTERS_MAPPINGS,
    DEAD_LETTERS_SETTINGS,
    DeadLetter,
    letter_id,
)
from workers.conditional_writes import Written, write_all
from workers.documents import DocumentKey, Target
from workers.encoding import Failed
from workers.retries import retried
from workers.vector_writes import vector_write, without_vectors

log = structlog.get_logger()


def write_dead_letters(
    es: Elasticsearch, target: Target, failures: Sequence[Failed], *, read_at: float
) -> list[Written]:
    """Store the failed documents as dead letters and remove their old vectors, which describe another text.

    `read_at`: as for `write_all`, whose results for the documents it returns.
    """
    if not failures:
        return []
    for failure in failures:
        log.error("dead letter", index=target.index, id=failure.document.id, error=without_preview(failure.error))
    _store(es, [_dead_letter(target, failure) for failure in failures])
    marks = [vector_write(target, without_vectors(target, failure.document, DEAD_LETTER)) for failure in failures]
    results = write_all(es, marks, read_at=read_at)
    # The feed delivers the new text of a document that changed in the meantime; its letter is obsolete.
    obsolete = [result.write.document.key for result in results if result.is_conflict or result.is_gone]
    delete_letters(es, target.uuid, target.name, obsolete)
    # Elasticsearch may reject the mark as well (dynamic: strict). The letter alone then counts as the document's state.
    return [result for result in results if not result.is_rejected]


def _dead_letter(target: Target, failure: Failed) -> DeadLetter:
    return DeadLetter(
        index=target.index,
        uuid=target.uuid,
        generation=target.name,
        id=failure.document.id,
        routing=failure.document.routing,
        error=failure.error,
        attempts=failure.attempts,
        seq_no=failure.document.seq_no,
    )


def has_letters(es: Elasticsearch, uuid: str, generation: str) -> bool:
    """Whether a generation of an index has any dead letter."""
    terms = [{"term": {"uuid": uuid}}, {"term": {"generation": generation}}]
    response = retried(
        lambda: es.search(
            index=DEAD_LETTERS_INDEX,
            query={"bool": {"filter": terms}},
            size=0,
            terminate_after=1,
            ignore_unavailable=True,
            expand_wildcards=["open", "hidden"],
        )
    )
    return int(response["hits"]["total"]["value"]) > 0


def find_letters(es: Elasticsearch, uuid: str, generation: str, documents: Collection[DocumentKey]) -> set[DocumentKey]:
    """The documents, by id and routing, that have a letter."""
    keys = {letter_id(uuid, generation, id_, routing): (id_, routing) for id_, routing in documents}
    if not keys:
        return set()
    response = retried(lambda: es.mget(index=DEAD_LETTERS_INDEX, ids=list(keys), source=False))
    return {keys[item["_id"]] for item in existing(response["docs"], DEAD_LETTERS_INDEX)}


def delete_letters(es: Elasticsearch, uuid: str, generation: str, documents: Collection[DocumentKey]) -> None:
    """Delete the letters of documents, named by id and routing. Raises IndexUnavailable when one cannot be deleted: it would remain
    for a document that is embedded."""
    if not documents:
        return
    operations = [{"delete": {"_id": letter_id(uuid, generation, id_, routing)}} for id_, routing in documents]
    response = retried(lambda: es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True))
    if response["errors"]:  # a letter that does not exist is no error
        failed = next(item["delete"]["error"] for item in response["items"] if "error" in item["delete"])
        raise IndexUnavailable(f"[{DEAD_LETTERS_INDEX}] rejects deletions: {failed.get('reason')}")


def _store(es: Elasticsearch, letters: Sequence[DeadLetter]) -> None:
    """Write the letters over earlier ones of the same documents. Raises IndexUnavailable when they cannot be written."""
    _ensure_index(es)
    operations: list[dict[str, object]] = []
    for letter in letters:
        operations.append({"index": {"_id": letter.document_key}})
        operations.append({**asdict(letter), "time": int(time.time() * 1000)})
    response = retried(lambda: es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True))
    if response["errors"]:
        failed = next(item["index"]["error"] for item in response["items"] if "error" in item["index"])
        raise IndexUnavailable(f"[{DEAD_LETTERS_INDEX}] rejects dead letters: {failed.get('reason')}")


def _ensure_index(es: Elasticsearch) -> None:
    if retried(lambda: es.indices.exists(index=DEAD_LETTERS_INDEX)):
        return
    try:
        retried(
            lambda: es.indices.create(
                index=DEAD_LETTERS_INDEX, settings=DEAD_LETTERS_SETTINGS, mappings=DEAD_LETTERS_MAPPINGS
            )
        )
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise
