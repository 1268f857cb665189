"""The index of dead letters: documents that cannot be embedded, each with its reason."""

import hashlib
from dataclasses import dataclass
from typing import Any

DEAD_LETTERS_INDEX = "esblend-dead-letters"
DEAD_LETTERS_SETTINGS: dict[str, Any] = {"index.hidden": True, "number_of_shards": 1, "auto_expand_replicas": "0-1"}
DEAD_LETTERS_MAPPINGS: dict[str, Any] = {
    "dynamic": False,
    "properties": {
        "index": {"type": "keyword"},
        "uuid": {"type": "keyword"},
        "generation": {"type": "keyword"},
        "id": {"type": "keyword", "ignore_above": 1024},
        "routing": {"type": "keyword", "ignore_above": 1024},
        "error": {"type": "text"},
        "time": {"type": "date"},
        "attempts": {"type": "integer"},
        "action": {"type": "keyword"},
    },
}
FORMAT = 1
RETRY, DROP = "retry", "drop"
"""Actions that an operator requests. The feed sends a task for them, and the worker deletes the letter when the task is done."""


@dataclass(frozen=True)
class DeadLetter:
    """A document that cannot be embedded. The index stores it with `time`; letters of another `format` are only shown."""

    index: str
    uuid: str
    generation: str
    id: str
    routing: str | None
    error: str
    attempts: int
    seq_no: int = -1
    """The sequence number of the version that cannot be embedded."""
    format: int = FORMAT

    @property
    def document_key(self) -> str:
        return letter_id(self.uuid, self.generation, self.id, self.routing)


def letter_id(uuid: str, generation: str, document: str, routing: str | None) -> str:
    """The `_id` of a document's letter. An id may occur once for each routing, so both name the document."""
    parts = [uuid, generation, document, *([] if routing is None else [routing])]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
