"""Finds `semantic` clauses anywhere in a search body, and turns them into kNN that Elasticsearch understands."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from esblend.errors import EncodingError, InvalidRequest, MalformedRequest, ModelError
from mappings.attachment import Attachment
from query.checks import objects_of
from query.plan import Vector, semantic_clause

Embed = Callable[[str], Awaitable[Vector]]
_MAX_CLAUSES = 32


def semantic_clauses(body: Any) -> Iterator[dict[str, Any]]:
    """Every object in `body` that is a `semantic` clause: `{"semantic": {"query": text, ...}}` and nothing beside it."""
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
        raise InvalidRequest("[knn.query_vector_builder] needs [text_embedding.model_text], a text")
    return text


def is_vector_name(field: str, attachment: Attachment) -> bool:
    """Whether a name of a vector field stands for the attachment's: its path, its object, or a field that it embeds."""
    return field in (attachment.vector_field, attachment.field, *attachment.source_fields)


def is_for(clause: dict[str, Any], attachment: Attachment) -> bool:
    """Whether a clause asks for the attachment's vectors, and not for a `semantic_text` field of Elasticsearch's own."""
    field = clause["semantic"].get("field")
    return field is None or field == attachment.field or field in attachment.source_fields


async def replace_semantic(body: dict[str, Any], attachment: Attachment, embed: Embed, *, k: int) -> list[str]:
    """Replace each clause in place. When its text cannot be embedded, the lexical search for it stands in; gives the reasons.

    Raises InvalidRequest or MalformedRequest when a clause is not well-formed.
    """
    degraded: list[str] = []
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
        more = {key: inside[key] for key in ("boost", "_name") if key in inside}
        try:
            [(kind, found)] = semantic_clause(attachment, await embed(text), k).items()
            clause[kind] = {**found, **more}
        except (ModelError, EncodingError) as error:
            degraded.append(f"semantic: {error.reason}")
            clause["multi_match"] = {"query": text, "fields": list(attachment.source_fields), **more}
    return degraded
