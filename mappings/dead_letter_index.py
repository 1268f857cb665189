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
"""What a person asked for; the feed passes it on to a worker, who takes the letter away when it is done."""


@dataclass(frozen=True)
class DeadLetter:
    """Kept with the time and `format`; of another format a letter is shown, and nothing asked on it is passed on."""

    index: str
    uuid: str
    generation: str
    id: str
    routing: str | None
    error: str
    attempts: int
    format: int = FORMAT


def letter_id(uuid: str, generation: str, document: str) -> str:
    return hashlib.sha256(f"{uuid}\0{generation}\0{document}".encode("utf-8", "surrogatepass")).hexdigest()
