"""Finds `semantic` clauses anywhere in a search body, and turns them into kNN that Elasticsearch understands."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from esblend.errors import InvalidRequest, MalformedRequest
from mappings.attachment import Attachment
from query.plan import Vector, semantic_clause

Embed = Callable[[str], Awaitable[Vector]]
_MAX_CLAUSES = 32


def semantic_clauses(body: Any) -> Iterator[dict[str, Any]]:
    """Every object in `body` that is a `semantic` clause: `{"semantic": {"query": text, ...}}` and nothing beside it."""
    stack = [body]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict):
            inside = value.get("semantic")
            if len(value) == 1 and isinstance(inside, dict) and "query" in inside:
                yield value
            else:
                stack.extend(value.values())


def text_sections(body: Any) -> Iterator[dict[str, Any]]:
    """Every kNN section, query or retriever in `body` that has a text in place of a vector."""
    stack = [body]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict):
            if "query_vector_builder" in value and isinstance(value.get("field"), str):
                yield value
            stack.extend(value.values())


def text_to_embed(builder: Any) -> str:
    """The text of a `query_vector_builder`. Raises InvalidRequest when there is none."""
    inside = builder.get("text_embedding") if isinstance(builder, dict) else None
    text = inside.get("model_text") if isinstance(inside, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise InvalidRequest("[knn.query_vector_builder] needs [text_embedding.model_text], a text")
    return text


def is_for(clause: dict[str, Any], attachment: Attachment) -> bool:
    """Whether a clause asks for the attachment's vectors, and not for a `semantic_text` field of Elasticsearch's own."""
    field = clause["semantic"].get("field")
    return field is None or field == attachment.field or field in attachment.source_fields


async def replace_semantic(body: dict[str, Any], attachment: Attachment, embed: Embed, *, k: int) -> None:
    """Replace each clause in place. Raises InvalidRequest or MalformedRequest when one is not well-formed."""
    clauses = [clause for clause in semantic_clauses(body) if is_for(clause, attachment)]
    if len(clauses) > _MAX_CLAUSES:
        raise InvalidRequest(f"the search has {len(clauses)} [semantic] clauses; at most {_MAX_CLAUSES} are allowed")
    for clause in clauses:
        inside = clause.pop("semantic")
        for key in inside:
            if key not in ("query", "field", "boost", "_name"):
                raise MalformedRequest(f"[semantic] unknown field [{key}]; there are boost, field, query")
        text = inside["query"]
        if not isinstance(text, str) or not text.strip():
            raise InvalidRequest("[semantic] needs a [query] that is a text")
        clause.update(semantic_clause(attachment, await embed(text), k, inside.get("boost")))
        if "_name" in inside:
            clause["nested"]["_name"] = inside["_name"]
