"""The legs of `rrf` and `linear` in the form with `query` and `fields`."""

from query.language.tree import FieldsLeg, KnnLeg, LinearLeg, RrfLeg, StandardLeg, Weighted
from query.plan.hybrid_legs import LEXICAL, SEMANTIC
from query.plan.lexical import boost_of
from query.targets.target import Target


def expand_fields(leg: FieldsLeg, target: Target) -> RrfLeg | LinearLeg:
    """One `multi_match` leg over the lexical fields and one semantic leg with equal weight, as Elasticsearch builds them.

    The semantic leg is added when `fields` names the attachment's object (`esblend`), or when there are no `fields`.
    """
    attachment = target.attachment
    named = leg.fields or (*(attachment.defaults.fields or attachment.source_fields), attachment.field)
    lexical = [field for field in named if field.partition("^")[0] != attachment.field]
    weighted = []
    if lexical:
        query = {"multi_match": {"query": leg.query, "fields": lexical, "type": "most_fields"}}
        weighted.append(Weighted(StandardLeg(query, leg.filters, name=LEXICAL), 1.0, leg.normalizer))
    for field in named:
        if field.partition("^")[0] == attachment.field:
            text = {"text_embedding": {"model_text": leg.query}}
            section = {"field": attachment.vector_field, "query_vector_builder": text}
            weight = boost_of(field) if "^" in field else 1.0
            weighted.append(Weighted(KnnLeg(section, leg.filters, name=SEMANTIC), weight, leg.normalizer))
    if leg.kind == "rrf":
        return RrfLeg(tuple(weighted), leg.window, leg.rank_constant, leg.min_score, leg.name)
    return LinearLeg(tuple(weighted), leg.window, leg.min_score, leg.name)
