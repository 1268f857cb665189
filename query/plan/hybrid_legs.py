"""The legs of a `hybrid` query: BM25, the nearest passages, and both true scores of every candidate."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from esblend.errors import InvalidRequest
from mappings.attachment import Attachment
from query.fusion.blend import CALIBRATED, Blending
from query.language.tree import Hybrid, KnnLeg, Search, StandardLeg
from query.plan.knn import Vector, by_best_passage, exact_score, knn_section
from query.plan.lexical import lexical_query
from query.plan.sequence_numbers import needs_only_page
from query.plan.shown import bare, is_shown
from query.targets.target import Target

Query = dict[str, Any]
MAX_WORDS = 256
"""Each word is a clause in each field, and Elasticsearch allows at least 1,024 clauses."""
DEFAULT_WINDOW = 100
DEFAULT_ALPHA = 0.65
LEXICAL, SEMANTIC = "lexical", "semantic"


def lexical_leg(hybrid: Hybrid, target: Target) -> StandardLeg:
    """BM25 of all texts, or the caller's own query. The query keeps its `inner_hits` and `_name`."""
    filters = (*hybrid.filters, *hybrid.lexical_filters)
    if hybrid.lexical is not None:
        return StandardLeg(hybrid.lexical, filters, name=LEXICAL)
    attachment = target.attachment
    fields = target.expanded(hybrid.fields or attachment.defaults.fields or attachment.source_fields)
    same_analyzer = target.share_analyzer(fields)
    queries = [
        lexical_query(text, fields, hybrid.lexical_options, same_analyzer=same_analyzer)
        for text in hybrid.lexical_texts or hybrid.texts
    ]
    return StandardLeg(queries[0] if len(queries) == 1 else {"bool": {"should": queries}}, filters, name=LEXICAL)


def with_fewer_words(hybrid: Hybrid) -> Hybrid:
    """The same query with the first `MAX_WORDS` distinct words for its lexical leg; unchanged if it has no more."""
    words = dict.fromkeys(word for text in hybrid.texts for word in text.split())
    if len(words) <= MAX_WORDS or hybrid.lexical is not None:
        return hybrid
    return replace(hybrid, lexical_texts=(" ".join(islice(words, MAX_WORDS)),))


def semantic_filters(hybrid: Hybrid) -> tuple[Query, ...]:
    return tuple(map(bare, (*hybrid.filters, *hybrid.semantic_filters)))


def semantic_leg(hybrid: Hybrid, attachment: Attachment, vector: Vector, window: int) -> KnnLeg:
    """The nearest passages. Each document counts once, with its best passage."""
    return KnnLeg(knn_section(attachment, vector, window), semantic_filters(hybrid), name=SEMANTIC)


def exact_semantic_leg(hybrid: Hybrid, attachment: Attachment, vector: Vector) -> StandardLeg:
    """Compares every vector, for a small number of documents. Its scores equal `SimilarityScale.script`."""
    query = by_best_passage(attachment, exact_score(attachment, vector))
    return StandardLeg(query, semantic_filters(hybrid), name=SEMANTIC)


def shown_by(hybrid: Hybrid) -> tuple[Query, ...]:
    """The caller's queries that add `inner_hits` or `_name` to hits."""
    own = [] if hybrid.lexical is None else [hybrid.lexical]
    return tuple(filter(is_shown, (*own, *hybrid.filters, *hybrid.lexical_filters, *hybrid.semantic_filters)))


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


def blending_of(hybrid: Hybrid, attachment: Attachment) -> Blending:
    """The settings of the request, else of the attachment's defaults, else of `Blending`."""
    defaults = attachment.defaults
    return Blending(
        hybrid.fusion or defaults.fusion or "linear",
        hybrid.normalizer or (None if hybrid.fusion else defaults.normalizer) or CALIBRATED,
        hybrid.combination,
        hybrid.rank_constant or defaults.rank_constant or 60,
    )


def is_exact_blend(hybrid: Hybrid, attachment: Attachment, weights: Mapping[str, float]) -> bool:
    """Whether each hit carries all true scores. Separate legs of fields always do, because they have no ranked lists."""
    is_by_score = blending_of(hybrid, attachment).fusion != "rrf" and hybrid.blending == "exact"
    return is_by_score or set(weights) != {LEXICAL, SEMANTIC}


def is_fetched_by_number(hybrid: Hybrid, target: Target, search: Search) -> bool:
    """Whether sequence numbers can identify the candidates until the page is fetched."""
    needs_ids: tuple[object, ...] = (
        hybrid.min_score, hybrid.rerank, hybrid.autocut, hybrid.inner_hits, hybrid.interleave, *hybrid.boosts, *shown_by(hybrid),
    )  # fmt: skip
    has_plugin = blending_of(hybrid, target.attachment).fusion not in ("linear", "rrf")  # it may read ids
    needs_more = has_plugin or any(part is not None for part in needs_ids)
    return target.can_search_numbers and needs_only_page(search) and not needs_more


def leg_of(field: str) -> str:
    """The name of the semantic leg of one source field."""
    return f"{SEMANTIC} {field}"


def with_true_scores(
    body: dict[str, Any],
    hybrid: Hybrid,
    lexical: StandardLeg,
    attachment: Attachment,
    vector: Vector,
    legs: Iterable[str],
) -> dict[str, Any]:
    """A leg's request that also returns each hit's true score on each of `legs`, as named queries: BM25, and the similarity of
    its best passage, or of its best passage of one field. A hit that fails a leg's own filters has no score on that leg.

    The named queries are in a post filter that every document passes. Filters are not scored while the leg is collected; named
    queries are scored when hits are fetched. So only the hits of the window are scored, and no further request is needed.
    """
    by_leg = {leg_of(name): name for name in attachment.source_fields}
    named = [
        _named(bare(lexical.query), hybrid.lexical_filters, LEXICAL)
        if leg == LEXICAL
        else _named(
            by_best_passage(attachment, exact_score(attachment, vector, by_leg.get(leg))), hybrid.semantic_filters, leg
        )
        for leg in legs
    ]
    return {**body, "post_filter": {"bool": {"must": [{"match_all": {}}], "should": named}}}


def _named(query: Query, filters: Iterable[Query], name: str) -> Query:
    return {"bool": {"must": [query], "filter": list(map(bare, filters)), "_name": name}}
