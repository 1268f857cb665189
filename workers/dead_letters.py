"""Documents that cannot be embedded, each kept in Elasticsearch with its reason."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from elasticsearch import BadRequestError, Elasticsearch

from workers.patience import patiently

DEAD_LETTERS_INDEX = "esblend-dead-letters"
_SETTINGS = {"index.hidden": True, "number_of_shards": 1, "auto_expand_replicas": "0-1"}
_MAPPINGS = {
    "dynamic": False,
    "properties": {
        "index": {"type": "keyword"},
        "uuid": {"type": "keyword"},
        "generation": {"type": "keyword"},
        "id": {"type": "keyword", "ignore_above": 1024},
        "error": {"type": "text"},
        "time": {"type": "date"},
        "attempts": {"type": "integer"},
    },
}


@dataclass(frozen=True)
class DeadLetter:
    index: str
    uuid: str
    generation: str
    id: str
    error: str
    attempts: int = 1


def letter_id(uuid: str, generation: str, document: str) -> str:
    return hashlib.sha256(f"{uuid}\0{generation}\0{document}".encode("utf-8", "surrogatepass")).hexdigest()


def keep(es: Elasticsearch, letters: Sequence[DeadLetter]) -> None:
    """Write the letters; one that is there already is replaced."""
    if not letters:
        return
    _ensure_index(es)
    operations: list[dict[str, object]] = []
    for letter in letters:
        operations.append({"index": {"_id": letter_id(letter.uuid, letter.generation, letter.id)}})
        operations.append({**letter.__dict__, "time": int(time.time() * 1000)})
    patiently(lambda: es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True))


def remove(es: Elasticsearch, uuid: str, generation: str, documents: Sequence[str]) -> None:
    """Take the letters of documents away that have been embedded since."""
    if not documents:
        return
    operations = [{"delete": {"_id": letter_id(uuid, generation, document)}} for document in documents]
    patiently(lambda: es.bulk(index=DEAD_LETTERS_INDEX, operations=operations, refresh=True))


def _ensure_index(es: Elasticsearch) -> None:
    if patiently(lambda: es.indices.exists(index=DEAD_LETTERS_INDEX)):
        return
    try:
        patiently(lambda: es.indices.create(index=DEAD_LETTERS_INDEX, settings=_SETTINGS, mappings=_MAPPINGS))
    except BadRequestError as error:
        if error.error != "resource_already_exists_exception":
            raise
