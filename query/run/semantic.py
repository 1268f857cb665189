"""Replaces `semantic` clauses on attached indices with Elasticsearch's kNN clauses."""

from collections.abc import Awaitable, Callable
from typing import Any

from esblend.errors import EncodingError, InvalidRequest, MalformedRequest, ModelError
from mappings.attachment import Attachment
from query.language.semantic import semantic_clauses
from query.plan.knn import Vector, semantic_clause

Embed = Callable[[str], Awaitable[Vector]]
_MAX_CLAUSES = 32


def is_vector_name(field: str, attachment: Attachment) -> bool:
    """Whether `field` refers to the attachment's vectors: by their path, by their object, or by an embedded field."""
    return field in (attachment.vector_field, attachment.field, *attachment.source_fields)


def is_for(clause: dict[str, Any], attachment: Attachment) -> bool:
    """Whether a clause searches the attachment's vectors rather than a `semantic_text` field of Elasticsearch."""
    field = clause["semantic"].get("field")
    return field is None or field == attachment.field or field in attachment.source_fields


async def replace_semantic(body: dict[str, Any], attachment: Attachment, embed: Embed, *, k: int) -> list[str]:
    """Replace each clause in place. When its text cannot be embedded, a lexical query replaces it; returns the reasons.

    Raises InvalidRequest or MalformedRequest when a clause is malformed.
    """
    degraded: list[str] = []
    clauses = [clause for clause in semantic_clauses(body) if is_for(clause, attachment)]
    if len(clauses) > _MAX_CLAUSES:
        raise InvalidRequest(f"the search has {len(clauses)} [semantic] clauses; at most {_MAX_CLAUSES} are allowed")
    for clause in clauses:
        options = clause.pop("semantic")
        for key in options:
            if key not in ("query", "field", "boost", "_name"):
                raise MalformedRequest(f"[semantic] unknown field [{key}]; known fields are [boost], [field], [query]")
        text = options["query"]
        if not isinstance(text, str) or not text.strip():
            raise InvalidRequest("[semantic] needs a [query] that is a text")
        shared_options = {key: options[key] for key in ("boost", "_name") if key in options}
        try:
            [(kind, knn)] = semantic_clause(attachment, await embed(text), k).items()
            clause[kind] = {**knn, **shared_options}
        except (ModelError, EncodingError) as error:
            degraded.append(f"semantic: {error.reason}")
            clause["multi_match"] = {"query": text, "fields": list(attachment.source_fields), **shared_options}
    return degraded
