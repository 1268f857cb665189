"""Writes dead letters, and deletes those of documents that were embedded or deleted since."""

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict

from elasticsearch import BadRequestError, Elasticsearch

from esblend.errors import IndexUnavailable
from mappings.dead_letter_index import (
    DEAD_LETTERS_INDEX,
    DEAD_LETTERS_MAPPINGS,
    DEAD_LETTERS_SETTINGS,
    DeadLetter,
    letter_id,
)
from workers.retries import retried


def store_dead_letters(es: Elasticsearch, letters: Sequence[DeadLetter]) -> None:
    """Write the letters over earlier ones of the same documents. Raises IndexUnavailable when they cannot be written."""
    if not letters:
        return
    _ensure_index(es)
    operations: list[dict[str, object]] = []
    for letter in letters:
        operations.append({"index": {"_id": letter.document_key}})
        operations.append({**asdict(letter), "time": int(time.time() * 1000)})
    response = retried(lambda: es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True))
    if response["errors"]:
        failed = next(item["index"]["error"] for item in response["items"] if "error" in item["index"])
        raise IndexUnavailable(f"[{DEAD_LETTERS_INDEX}] rejects dead letters: {failed.get('reason')}")


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


def find_letters(
    es: Elasticsearch, uuid: str, generation: str, documents: Collection[tuple[str, str | None]]
) -> set[tuple[str, str | None]]:
    """The documents, by id and routing, that have a letter."""
    keys = {letter_id(uuid, generation, id_, routing): (id_, routing) for id_, routing in documents}
    if not keys:
        return set()
    response = retried(lambda: es.mget(index=DEAD_LETTERS_INDEX, ids=list(keys), source=False))
    return {keys[item["_id"]] for item in response["docs"] if item.get("found")}


def delete_letters(
    es: Elasticsearch, uuid: str, generation: str, documents: Collection[tuple[str, str | None]]
) -> None:
    """Delete the letters of documents, named by id and routing."""
    if not documents:
        return
    operations = [{"delete": {"_id": letter_id(uuid, generation, id_, routing)}} for id_, routing in documents]
    retried(lambda: es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True))


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
