"""Finds `semantic` clauses, and query texts in place of query vectors, anywhere in a search body."""

from collections.abc import Iterator
from typing import Any

from esblend.errors import InvalidRequest
from query.language.checks import objects_of


def semantic_clauses(body: Any) -> Iterator[dict[str, Any]]:
    """Every object in `body` that is a `semantic` clause: `{"semantic": {"query": text, ...}}` without other keys."""
    for value in objects_of(body):
        inside = value.get("semantic")
        if len(value) == 1 and isinstance(inside, dict) and "query" in inside:
            yield value


def text_sections(body: Any) -> Iterator[dict[str, Any]]:
    """Every kNN section, query or retriever in `body` that has a text in place of a vector."""
    for value in objects_of(body):
        if "query_vector_builder" in value and isinstance(value.get("field"), str):
            yield value


def text_to_embed(builder: Any) -> str:
    """The text of a `query_vector_builder`. Raises InvalidRequest when there is none."""
    inside = builder.get("text_embedding") if isinstance(builder, dict) else None
    text = inside.get("model_text") if isinstance(inside, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest("[knn.query_vector_builder] needs a text in [text_embedding.model_text]")
    return text
