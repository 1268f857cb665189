"""Replaces texts in a search body by vectors: `semantic` and `neural` clauses, and `query_vector_builder` outside of retrievers."""

from typing import Any

from starlette.types import Scope

from esblend.errors import NotAttached
from query.gateway.context import GatewayContext
from query.language.opensearch import translate_neural
from query.language.search_body import is_ours
from query.language.semantic import semantic_clauses, text_sections, text_to_embed
from query.run.semantic import is_for, is_vector_name, replace_semantic
from query.targets.metadata import indices_of

_DEFAULT_SIZE = 10
_MIN_K, _MAX_K = 100, 10_000


async def embed_texts(
    context: GatewayContext, scope: Scope, body: dict[str, Any], target: str, parameters: dict[str, str]
) -> list[str] | None:
    """Change `body` in place. None: it has no text to embed; else the reasons why some texts were not embedded.

    A clause on a field of an index without attachment stays unchanged for Elasticsearch.
    """
    translate_neural(body)
    clauses, sections = list(semantic_clauses(body)), list(text_sections(body))
    if is_ours(body):  # a fused search embeds the texts of its legs itself, and degrades each on its own
        sections = []
    if not clauses and not sections:
        return None
    try:
        pit = body.get("pit")
        if isinstance(pit, dict):
            target = await indices_of(context.client_for(scope), pit) or "-*"
        requester = context.requester(scope, already_authorised=isinstance(pit, dict), options=parameters)
        attachment = (await context.metadata.target(requester, target or "*")).attachment
    except NotAttached:
        if all("field" in clause["semantic"] for clause in clauses):
            return None
        raise
    sections = [section for section in sections if is_vector_name(section["field"], attachment)]
    for section in sections:
        text = text_to_embed(section.pop("query_vector_builder"))
        section["field"] = attachment.vector_field
        section["query_vector"] = await context.embedder.embed(text, attachment.generation)
    if not any(is_for(clause, attachment) for clause in clauses):
        return [] if sections else None
    return await replace_semantic(
        body,
        attachment,
        lambda text: context.embedder.embed(text, attachment.generation),
        k=min(_MAX_K, max(_MIN_K, _page_end(body))),
    )


def _page_end(body: dict[str, Any]) -> int:
    start, size = body.get("from", 0), body.get("size", _DEFAULT_SIZE)
    return start + size if isinstance(start, int) and isinstance(size, int) else _DEFAULT_SIZE
