"""The legs of a `hybrid` query: BM25, the nearest passages, and both true scores of every candidate."""

from collections.abc import Iterable
from typing import Any

from esblend.errors import InvalidRequest
from mappings.attachment import Attachment
from query.language.tree import Hybrid, KnnLeg, Search, StandardLeg
from query.plan.knn import Vector, by_best_passage, exact_score, knn_section
from query.plan.lexical import lexical_query
from query.targets.target import Target

DEFAULT_WINDOW = 100
DEFAULT_ALPHA = 0.65
LEXICAL, SEMANTIC = "lexical", "semantic"


def lexical_leg(hybrid: Hybrid, target: Target) -> StandardLeg:
    attachment = target.attachment
    fields = list(hybrid.fields or attachment.defaults.fields or attachment.source_fields)
    query = lexical_query(hybrid.query, fields, same_analyzer=target.share_analyzer(fields))
    return StandardLeg(query, hybrid.filters, name=LEXICAL)


def semantic_leg(hybrid: Hybrid, attachment: Attachment, vector: Vector, window: int) -> KnnLeg:
    """The nearest passages. Each document counts once, with its best passage."""
    return KnnLeg(knn_section(attachment, vector, window), hybrid.filters, name=SEMANTIC)


def exact_semantic_leg(hybrid: Hybrid, attachment: Attachment, vector: Vector) -> StandardLeg:
    """Compares every vector, for a small number of documents. Its scores are those of `SimilarityScale.script`."""
    return StandardLeg(by_best_passage(attachment, exact_score(attachment, vector)), hybrid.filters, name=SEMANTIC)


def window_of(hybrid: Hybrid, attachment: Attachment, search: Search) -> int:
    """`rank_window_size`: of the request, else of the attachment, else 100; never smaller than the page needs."""
    return hybrid.window or max(attachment.defaults.rank_window_size or DEFAULT_WINDOW, search.start + search.size)


def weights_of(hybrid: Hybrid, attachment: Attachment) -> dict[str, float]:
    """Weights by leg, the lexical leg first: of the request, else of the attachment, else 1 - alpha and alpha with alpha 0.65.

    Raises InvalidRequest when a field is named that does not have separate vectors.
    """
    weights = hybrid.weights or attachment.defaults.weights
    if weights is None:
        alpha = DEFAULT_ALPHA if attachment.defaults.alpha is None else attachment.defaults.alpha
        return {LEXICAL: 1 - alpha, SEMANTIC: alpha}
    fields = [name for name in weights if name not in (LEXICAL, SEMANTIC)]
    for name in fields:
        if not attachment.has_fields_apart or name not in attachment.source_fields or SEMANTIC in weights:
            raise InvalidRequest(
                f"[weights] names [{name}]; it accepts [lexical] and [semantic], or instead of [semantic] the source fields of an "
                "index that was attached with [passages.fields: apart]"
            )
    semantic = {leg_of(name): weights[name] for name in fields} or {SEMANTIC: weights.get(SEMANTIC, 1.0)}
    return {LEXICAL: weights.get(LEXICAL, 1.0), **semantic}


def leg_of(field: str) -> str:
    """The name of the semantic leg of one source field."""
    return f"{SEMANTIC} {field}"


def with_true_scores(
    body: dict[str, Any], lexical: StandardLeg, attachment: Attachment, vector: Vector, legs: Iterable[str]
) -> dict[str, Any]:
    """A leg's request that also returns each hit's true score on each of `legs`, as named queries: BM25, and the similarity of
    its best passage, or of its best passage of one field.

    The named queries are in a post filter that every document passes. Filters are not scored while the leg is collected; named
    queries are scored when hits are fetched. So only the hits of the window are scored, and no further request is needed.
    """
    by_leg = {leg_of(name): name for name in attachment.source_fields}
    named = [
        _named(lexical.query, LEXICAL)
        if leg == LEXICAL
        else by_best_passage(attachment, exact_score(attachment, vector, by_leg.get(leg)), _name=leg)
        for leg in legs
    ]
    return {**body, "post_filter": {"bool": {"must": [{"match_all": {}}], "should": named}}}


def _named(query: dict[str, Any], name: str) -> dict[str, Any]:
    return {"bool": {"must": [query], "_name": name}}
