"""Replaces esblend's clauses in a search body by queries that Elasticsearch understands.

semantic, neural       -> kNN over the attachment's passages
knn on the attached field, by text or by vector -> kNN that finds documents
hybrid inside another clause -> its candidates with their fused scores
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elasticsearch import ApiError
from starlette.types import Scope

from esblend.errors import IndexNotFound, InvalidRequest, NoIndices, NotAttached
from mappings.attachment import Attachment
from mappings.capabilities import knn_query_has_k
from query.gateway.context import GatewayContext
from query.language.clauses import Clause, conditions_around, knn_sections, ranked_clauses
from query.language.opensearch import translate_neural
from query.language.search_body import parse_clause
from query.language.semantic import parse_inner_hits
from query.language.url_parameters import clause_parameters
from query.page.passages import HIGHLIGHT, semantic_highlights, without_fields
from query.plan.cost import parts_of
from query.plan.highlighting import with_words_highlighted
from query.run.semantic import embed_section, is_for, is_vector_name, replace_knn, replace_semantic
from query.run.session import Session

_DEFAULT_SIZE = 10
_MIN_K, _MAX_K = 100, 10_000
_MAX_HYBRID = 5


@dataclass
class Changes:
    """The changes of a body's clauses."""

    is_changed: bool = False
    degraded: list[str] = field(default_factory=list)
    """Reasons why texts were not embedded."""
    attachment: Attachment | None = None
    shows_passages: bool = False
    """Whether hits have passages whose text is missing yet."""
    highlights: Mapping[str, int] = field(default_factory=dict)
    """Fields that passages highlight, with the number of passages."""
    highlighted_from: str = ""
    """The name of the inner hits with these passages."""
    parts: int = 0
    """`parts_of` the body as the caller sent it, if esblend executes the search."""


@dataclass(frozen=True)
class _Found:
    """The parts of a body that may be esblend's."""

    semantic: Sequence[Clause]
    knn: Sequence[Clause]
    hybrid: Sequence[Clause]
    sections: Sequence[dict[str, Any]]

    @property
    def needs_attachment(self) -> bool:
        """Whether Elasticsearch cannot answer the body unchanged. A clause with a field may target a `semantic_text` field."""
        unnamed = any("field" not in clause.options for clause in self.semantic)
        knn = (*self.sections, *(clause.options for clause in self.knn))
        by_text = any("text_embedding" in (section.get("query_vector_builder") or ()) for section in knn)
        return unnamed or by_text or bool(self.hybrid)


async def embed_texts(
    context: GatewayContext, scope: Scope, body: dict[str, Any], target: str, parameters: Mapping[str, str], *,
    is_fused: bool = False,
) -> Changes:  # fmt: skip
    """Change `body` in place. `is_fused`: esblend executes the search; otherwise a `hybrid` is replaced wherever it is.

    A clause on a field of an index without attachment stays unchanged for Elasticsearch.

    Raises EsblendError.
    """
    changes = Changes(parts=parts_of(body) if is_fused else 0)
    clauses = _find(body, is_fused=is_fused)
    if clauses is None:
        return changes
    if clauses.semantic or clauses.knn or clauses.sections:
        await _replace_vectors(context, scope, body, target, parameters, clauses, changes)
    if len(clauses.hybrid) > _MAX_HYBRID:
        raise InvalidRequest(
            f"the search has {len(clauses.hybrid)} [hybrid] clauses; at most {_MAX_HYBRID} are allowed"
        )
    for clause in clauses.hybrid:
        await _replace_hybrid(context, scope, clause, body, target, parameters, changes)
    if clauses.hybrid and not is_fused:
        body.pop("on_leg_failure", None)  # Elasticsearch does not know it
    if changes.is_changed and not is_fused:
        with_words_highlighted(body)
    return changes


def _find(body: dict[str, Any], *, is_fused: bool) -> _Found | None:
    translate_neural(body)
    clauses = [clause for clause in ranked_clauses(body) if not (is_fused and clause.holder is body.get("query"))]
    sections = [section for section in knn_sections(body) if isinstance(section.get("field"), str)]
    if is_fused:  # a fused search embeds the texts of its legs itself, and degrades each on its own
        sections = [section for section in sections if "query_vector_builder" not in section]
    result = _Found(
        [candidate for candidate in clauses if candidate.kind == "semantic" and "query" in candidate.options],
        [
            candidate
            for candidate in clauses
            if candidate.kind == "knn" and not candidate.is_leg and isinstance(candidate.options.get("field"), str)
        ],
        [candidate for candidate in clauses if candidate.kind == "hybrid"],
        sections,
    )
    return result if result.semantic or result.knn or result.hybrid or result.sections else None


async def _replace_vectors(
    context: GatewayContext, scope: Scope, body: dict[str, Any], target: str, parameters: Mapping[str, str],
    found: _Found, changes: Changes,
) -> None:  # fmt: skip
    try:
        requester, searched = await context.searched(scope, body, target, parameters)
        attachment = (await context.metadata.target(requester, searched)).attachment
    except (NoIndices, IndexNotFound):
        for clause in found.semantic:  # Elasticsearch answers as for any query on a name without indices
            clause.replace({"match_none": {}})
        for section in (*found.sections, *(clause.options for clause in found.knn)):
            if section.pop("query_vector_builder", None) is not None:
                section["query_vector"] = [1.0]
                changes.is_changed = True
        changes.is_changed |= bool(found.semantic)
        return
    except (NotAttached, InvalidRequest, ApiError):
        if found.needs_attachment:
            raise
        return

    async def embed(text: str) -> Any:
        return await context.embedder.embed(text, attachment.generation)

    for section in found.sections:
        if is_vector_name(section["field"], attachment):
            changes.is_changed |= await embed_section(section, attachment, embed)
    changes.is_changed |= await replace_knn(found.knn, attachment, embed)
    semantic = [clause for clause in found.semantic if is_for(clause, attachment)]
    if semantic:
        changes.is_changed = True
        changes.attachment = attachment
        _highlight_by_passages(body, semantic[0], attachment, changes)
        changes.shows_passages = any(clause.options.get("inner_hits") not in (None, False) for clause in semantic)
        k = min(_MAX_K, max(_MIN_K, sum(_page(body))))
        has_k = knn_query_has_k(await context.version(scope))
        changes.degraded += await replace_semantic(semantic, attachment, embed, k=k, has_k=has_k)


def _highlight_by_passages(body: dict[str, Any], clause: Clause, attachment: Attachment, changes: Changes) -> None:
    """`type: semantic` highlights become inner hits of a `semantic` clause, from which the response is filled."""
    highlights = semantic_highlights(body.get("highlight"), attachment)
    if not highlights or not attachment.is_nested or clause.nested is not None:
        return
    if clause.options.get("inner_hits") in (None, False):
        clause.options["inner_hits"] = {"name": HIGHLIGHT, "size": max(highlights.values())}
    inner_hits = parse_inner_hits(clause.options, "semantic")
    if inner_hits is not None:
        changes.highlights, changes.highlighted_from = highlights, inner_hits.name
    rest = without_fields(body.pop("highlight"), highlights)
    if rest is not None:
        body["highlight"] = rest


async def _replace_hybrid(
    context: GatewayContext, scope: Scope, clause: Clause, body: dict[str, Any], target: str,
    parameters: Mapping[str, str], changes: Changes,
) -> None:  # fmt: skip
    """Rank by a `hybrid` that is a clause among others; its candidates with their scores replace it."""
    if clause.nested is not None:
        raise InvalidRequest(f"[hybrid] finds whole documents; move it out of [nested] with path [{clause.nested}]")
    size, start = _page(body)
    search, options = parse_clause(clause.options, conditions_around(clause), body, size=size, start=start)
    session = Session(context.services(scope), context.caller(scope), target, clause_parameters(parameters), search)
    async with context.expensive.turn(search, parts_of(clause.options)):
        with context.searches.place():
            query = await session.candidates_as_query()
    clause.replace({"bool": {**query, **options}})
    changes.is_changed = True
    changes.degraded += session.degraded


def _page(body: dict[str, Any]) -> tuple[int, int]:
    """`size` and `from`; the defaults where Elasticsearch will reject them."""
    size, start = body.get("size", _DEFAULT_SIZE), body.get("from", 0)
    try:
        size, start = int(size), int(start)
    except (TypeError, ValueError):
        return _DEFAULT_SIZE, 0
    return (size, start) if size >= 0 and start >= 0 and size + start <= _MAX_K else (_DEFAULT_SIZE, 0)
