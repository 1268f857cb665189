"""Replaces `semantic` clauses over attached indices with kNN that Elasticsearch understands."""

from collections.abc import Awaitable, Callable
from typing import Any

from esblend.errors import EncodingError, InvalidRequest, MalformedRequest, ModelError
from mappings.attachment import Attachment
from query.language.semantic import semantic_clauses
from query.plan.knn import Vector, semantic_clause

Embed = Callable[[str], Awaitable[Vector]]
_MAX_CLAUSES = 32


def is_vector_name(field: str, attachment: Attachment) -> bool:
    """Whether a name of a vector field refers to the attachment's: its path, its object, or a field that it embeds."""
    return field in (attachment.vector_field, attachment.field, *attachment.source_fields)


def is_for(clause: dict[str, Any], attachment: Attachment) -> bool:
    """Whether a clause asks for the attachment's vectors, and not for a `semantic_text` field of Elasticsearch's own."""
    field = clause["semantic"].get("field")
    return field is None or field == attachment.field or field in attachment.source_fields


async def replace_semantic(body: dict[str, Any], attachment: Attachment, embed: Embed, *, k: int) -> list[str]:
    """Replace each clause in place. When its text cannot be embedded, a lexical query replaces it; returns the reasons.

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
