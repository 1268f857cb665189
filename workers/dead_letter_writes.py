"""Writes dead letters, and takes those away whose documents have been embedded since."""

import time
from collections.abc import Sequence
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
from workers.retry_writes import patiently


def store_dead_letters(es: Elasticsearch, letters: Sequence[DeadLetter]) -> None:
    """Write the letters; one that is there already is replaced. Raises IndexUnavailable when they cannot be written."""
    if not letters:
        return
    _ensure_index(es)
    operations: list[dict[str, object]] = []
    for letter in letters:
        operations.append({"index": {"_id": letter_id(letter.uuid, letter.generation, letter.id)}})
        operations.append({**asdict(letter), "time": int(time.time() * 1000)})
    answer = patiently(lambda: es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True))
    if answer["errors"]:
        failed = next(item["index"]["error"] for item in answer["items"] if "error" in item["index"])
        raise IndexUnavailable(f"[{DEAD_LETTERS_INDEX}] takes no letters: {failed.get('reason')}")


def has_any(es: Elasticsearch, uuid: str, generation: str) -> bool:
    """Whether an index has letters at all."""
    terms = [{"term": {"uuid": uuid}}, {"term": {"generation": generation}}]
    answer = patiently(
        lambda: es.search(
            index=DEAD_LETTERS_INDEX,
            query={"bool": {"filter": terms}},
            size=0,
            terminate_after=1,
            ignore_unavailable=True,
            expand_wildcards=["open", "hidden"],
        )
    )
    return int(answer["hits"]["total"]["value"]) > 0


def remove(es: Elasticsearch, uuid: str, generation: str, documents: Sequence[str]) -> None:
    """Take the letters of documents away, of those that have one."""
    if not documents:
        return
    operations = [{"delete": {"_id": letter_id(uuid, generation, document)}} for document in documents]
    patiently(lambda: es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True))


def _ensure_index(es: Elasticsearch) -> None:
    if patiently(lambda: es.indices.exists(index=DEAD_LETTERS_INDEX)):
        return
    try:
        patiently(
            lambda: es.indices.create(
                index=DEAD_LETTERS_INDEX, settings=DEAD_LETTERS_SETTINGS, mappings=DEAD_LETTERS_MAPPINGS
            )
        )
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise
