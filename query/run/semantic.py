"""Replaces `semantic` clauses, and `knn` on the attached field by any of its names, with kNN that Elasticsearch understands."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from esblend.errors import EncodingError, InvalidRequest, ModelError
from mappings.attachment import Attachment
from query.language.clauses import Clause
from query.language.semantic import Semantic, is_text, parse_semantic, text_to_embed
from query.plan.documents import filtered
from query.plan.knn import Vector, knn_query, semantic_query

Embed = Callable[[str], Awaitable[Vector]]
_MAX_CLAUSES = 32


def is_vector_name(field: str, attachment: Attachment) -> bool:
    """Whether `field` refers to the attachment's vectors: by their path, by their object, or by an embedded field."""
    return field in (attachment.vector_field, attachment.field, *attachment.source_fields)


def is_for(clause: Clause, attachment: Attachment) -> bool:
    """Whether a `semantic` clause searches the attachment's vectors rather than a `semantic_text` field of Elasticsearch."""
    field = clause.options.get("field")
    return field is None or field == attachment.field or field in attachment.source_fields


async def replace_semantic(
    clauses: Iterable[Clause], attachment: Attachment, embed: Embed, *, k: int, has_k: bool = True
) -> list[str]:
    """Replace each clause in its body. When its text cannot be embedded, a lexical query replaces it; returns the reasons.

    `k`: of clauses without one. `has_k`: whether the server knows `k` in a `knn` query.
    Raises InvalidRequest or MalformedRequest when a clause is malformed.
    """
    degraded: list[str] = []
    clauses = [clause for clause in clauses if is_for(clause, attachment)]
    if len(clauses) > _MAX_CLAUSES:
        raise InvalidRequest(f"the search has {len(clauses)} [semantic] clauses; at most {_MAX_CLAUSES} are allowed")
    for clause in clauses:
        semantic = parse_semantic(clause.options)
        try:
            vector = await embed(semantic.text)
        except (ModelError, EncodingError) as error:
            degraded.append(f"semantic: {error.reason}")
            clause.replace(_lexical(semantic, attachment))
        else:
            clause.replace(semantic_query(attachment, semantic, vector, k, nested=clause.nested, has_k=has_k))
    return degraded


def _lexical(semantic: Semantic, attachment: Attachment) -> dict[str, Any]:
    query = {"multi_match": {"query": semantic.text, "fields": list(attachment.source_fields)}}
    return {"bool": {"must": [filtered(query, semantic.filters)], **semantic.options}}


async def replace_knn(clauses: Iterable[Clause], attachment: Attachment, embed: Embed) -> bool:
    """Let each `knn` clause on the attached field find documents, and embed its text if it has one; whether any changed.

    Raises ModelError or EncodingError when a text cannot be embedded.
    """
    changed = False
    for clause in clauses:
        if not is_vector_name(str(clause.options.get("field")), attachment):
            continue
        section = dict(clause.options)
        await embed_section(section, attachment, embed)
        query = knn_query(attachment, section, nested=clause.nested)
        if query != {"knn": clause.options}:
            clause.replace(query)
            changed = True
    return changed


async def embed_section(section: dict[str, Any], attachment: Attachment, embed: Embed) -> bool:
    """Give a kNN search the attached field's path and a vector in place of its text, in place; whether it changed."""
    changed = section["field"] != attachment.vector_field or "query_vector_builder" in section
    section["field"] = attachment.vector_field
    if is_text(section.get("query_vector_builder", "")) and "query_vector_builder" in section:
        section["query_vector"] = await embed(text_to_embed(section.pop("query_vector_builder")))
    return changed
