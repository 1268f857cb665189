"""The legs of `rrf` and `linear` in the form with `query` and `fields`."""

from collections.abc import Sequence

from esblend.errors import InvalidRequest
from esblend.wildcards import Wildcard
from query.language.tree import FieldsLeg, KnnLeg, Leg, LinearLeg, RrfLeg, StandardLeg, Weighted
from query.plan.hybrid_legs import LEXICAL, SEMANTIC
from query.plan.lexical import boost_of
from query.targets.target import Target


def expand_fields(leg: FieldsLeg, targets: Sequence[Target]) -> RrfLeg | LinearLeg:
    """For each target one `multi_match` leg over the lexical fields and one semantic leg, as Elasticsearch builds them for each
    index. Without a target, as on indices that are not attached, all fields are lexical.

    A target has a semantic leg when `fields` names the attachment's object (`esblend`) or a pattern that matches it, or when
    there are no `fields`. As in Elasticsearch, the boost of the only semantic field changes nothing where scores are
    normalised. Raises InvalidRequest on a negative boost.
    """
    if any(boost_of(name) < 0 for name in leg.fields or ()):
        raise InvalidRequest(f"[{leg.kind}] per-field weights must be non-negative")
    weighted = [part for target in targets for part in _legs_of(leg, target, apart=len(targets) > 1)]
    if not targets:
        fields = {} if leg.fields is None else {"fields": list(leg.fields)}
        query = {"multi_match": {"query": leg.query, **fields, "type": "most_fields"}}
        weighted = [Weighted(StandardLeg(query, leg.filters, name=LEXICAL), 1.0, leg.normalizer)]
    if leg.kind == "rrf":
        return RrfLeg(tuple(weighted), leg.window, leg.rank_constant, leg.min_score, leg.name)
    return LinearLeg(tuple(weighted), leg.window, leg.min_score, leg.name)


def _legs_of(leg: FieldsLeg, target: Target, *, apart: bool) -> list[Weighted]:
    """`apart`: there are other targets, so the legs are for the target's indices only."""
    attachment = target.attachment
    named = leg.fields or (*(attachment.defaults.fields or attachment.source_fields), attachment.field)
    matching = [field for field in named if Wildcard(field.partition("^")[0]).matches(attachment.field)]
    lexical = [field for field in named if field.partition("^")[0] != attachment.field]
    every = (*target.indices, *target.unattached)
    legs: list[tuple[Leg, float]] = []
    if lexical:
        query = {"multi_match": {"query": leg.query, "fields": lexical, "type": "most_fields"}}
        own, filters = _only(every if apart else (), leg)
        legs.append((StandardLeg(query, filters, name=LEXICAL, indices=own), 1.0))
    if matching:
        text = {"text_embedding": {"model_text": leg.query}}
        section = {"field": attachment.vector_field, "query_vector_builder": text}
        own, filters = _only(target.indices if apart or target.unattached else (), leg)
        weight = 1.0
        if leg.kind == "linear" and leg.normalizer == "none":
            for field in matching:
                weight *= boost_of(field)
        legs.append((KnnLeg(section, filters, name=SEMANTIC, indices=own), weight))
    return [Weighted(part, weight, leg.normalizer) for part, weight in legs]


def _only(indices: tuple[str, ...], leg: FieldsLeg) -> tuple[tuple[str, ...], tuple[dict[str, object], ...]]:
    """The indices of a leg, and its filters with one on these indices; none: all indices."""
    return indices, (*leg.filters, {"terms": {"_index": list(indices)}}) if indices else leg.filters
