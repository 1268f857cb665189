"""Elasticsearch queries that decide whether documents have their vectors. Worker, status and generations share them.

A fingerprint and a state beside a vector are a hint, never a proof. From Elasticsearch 9.2 on, clients read documents without
their vectors, and a client that writes such a document back removes the vectors and keeps everything beside them.
"""

from typing import Any

from mappings.attachment import ADOPTED, DEAD_LETTER, DROPPED, EMBEDDED, NO_TEXT, Attachment

STATES_OF_COUNTS = {
    "embedded": (EMBEDDED, ADOPTED),
    "without_text": (NO_TEXT,),
    "dead_letters": (DEAD_LETTER,),
    "dropped": (DROPPED,),
}
"""The counts of a status, each with the document states it counts."""


def vector_count(attachment: Attachment) -> dict[str, Any]:
    """A query whose score is the number of vectors that a document has in the active generation."""
    has_vector = {"constant_score": {"filter": {"exists": {"field": attachment.vector_field}}}}
    if not _is_nested(attachment):
        return has_vector
    return {"nested": {"path": attachment.passages_path, "score_mode": "sum", "query": has_vector}}


def has_all_vectors(attachment: Attachment) -> dict[str, Any]:
    """Matches documents that have a vector, and no passage without one."""
    has_vector = {"exists": {"field": attachment.vector_field}}
    if not _is_nested(attachment):
        return has_vector
    path = attachment.passages_path
    without = {"nested": {"path": path, "query": {"bool": {"must_not": [has_vector]}}}}
    return {"bool": {"filter": [{"nested": {"path": path, "query": has_vector}}], "must_not": [without]}}


def is_counted_as(attachment: Attachment, count: str) -> dict[str, Any]:
    """Matches documents of one count of the status, a key of `STATES_OF_COUNTS`."""
    states = {"terms": {attachment.state_field: list(STATES_OF_COUNTS[count])}}
    proof = [has_all_vectors(attachment)] if count == "embedded" else []
    return {"bool": {"filter": [states, *proof]}}


def is_processed(attachment: Attachment) -> dict[str, Any]:
    """Matches documents that need no work in the active generation, if their text did not change since."""
    if not attachment.generation.is_followed:
        return {"exists": {"field": attachment.vector_field}}
    return {"bool": {"should": [is_counted_as(attachment, count) for count in STATES_OF_COUNTS]}}


def _is_nested(attachment: Attachment) -> bool:
    return attachment.is_nested and attachment.generation.adopted is None
