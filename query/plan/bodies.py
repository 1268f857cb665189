"""From the request tree to Elasticsearch requests. Pure functions: values in, request bodies out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esblend.errors import InvalidRequest
from mappings.attachment import Attachment
from query.fusion.ranked_lists import Key
from query.language.tree import FieldsLeg, Hybrid, KnnLeg, LinearLeg, RrfLeg, Search, StandardLeg, Weighted
from query.plan.similarity import similarity_scale
from query.targets.metadata import Target

DEFAULT_WINDOW = 100
DEFAULT_ALPHA = 0.7
LEXICAL, SEMANTIC = "lexical", "semantic"
INNER_HITS = "passages"
Vector = NDArray[np.float32]


def lexical_leg(hybrid: Hybrid, target: Target) -> StandardLeg:
    attachment = target.attachment
    fields = list(hybrid.fields or attachment.defaults.fields or attachment.source_fields)
    return StandardLeg(
        lexical_query(hybrid.query, fields, is_one=target.share_analyzer(fields)), hybrid.filters, name=LEXICAL
    )


def lexical_query(text: str, fields: Sequence[str], *, is_one: bool) -> dict[str, Any]:
    """BM25 over several fields as if they were one (BM25F, Robertson et al., CIKM 2004) where `is_one`, that is where they
    are analysed alike; else the sum of each field's score. BM25F takes no boost below 1."""
    if len(fields) == 1 and "^" not in fields[0]:
        return {"match": {fields[0]: {"query": text}}}
    if is_one and all(_boost(field) >= 1 for field in fields):
        return {"combined_fields": {"query": text, "fields": list(fields)}}
    return {"multi_match": {"query": text, "fields": list(fields), "type": "most_fields"}}


def _boost(field: str) -> float:
    """The boost of `title^2`; 0 when it is no number, which Elasticsearch then says best."""
    try:
        return float(field.partition("^")[2] or 1)
    except ValueError:
        return 0.0


def semantic_leg(hybrid: Hybrid, attachment: Attachment, vector: Vector, window: int) -> KnnLeg:
    """The nearest passages, each document counted once with its best one."""
    return KnnLeg(knn_section(attachment, vector, window), hybrid.filters, name=SEMANTIC)


def exact_semantic_leg(hybrid: Hybrid, attachment: Attachment, vector: Vector) -> StandardLeg:
    """The same by comparing every vector, for few documents: its scores are those of `SimilarityScale.script`."""
    return StandardLeg(by_best_passage(attachment, exact_score(attachment, vector)), hybrid.filters, name=SEMANTIC)


def knn_section(attachment: Attachment, vector: Vector, k: int) -> dict[str, Any]:
    section = {"field": attachment.vector_field, "query_vector": vector, "k": k, "num_candidates": num_candidates(k)}
    oversample = attachment.generation.vector.oversample
    return section if oversample is None else {**section, "rescore_vector": {"oversample": oversample}}


def num_candidates(k: int) -> int:
    """Candidates a shard: half as many again as wanted, at least 100, and no more than Elasticsearch allows."""
    return min(10_000, max(100, k + k // 2))


def semantic_clause(attachment: Attachment, vector: Vector, k: int) -> dict[str, Any]:
    """The `semantic` query as Elasticsearch knows it: kNN, a document with several passages scored by its best one."""
    return by_best_passage(attachment, {"knn": knn_section(attachment, vector, k)})


def by_best_passage(attachment: Attachment, query: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A query on vectors as a query on documents. `more`: options of the clause, such as `_name`."""
    if attachment.is_nested:
        return {"nested": {"path": attachment.passages_path, "score_mode": "max", "query": query, **more}}
    [(kind, inside)] = query.items()
    return {kind: {**inside, **more}}


def window_of(hybrid: Hybrid, attachment: Attachment, search: Search) -> int:
    """How many hits of each leg are looked at: as asked, else the attachment's, else 100; never less than the page needs."""
    return hybrid.window or max(attachment.defaults.rank_window_size or DEFAULT_WINDOW, search.start + search.size)


def weights_of(hybrid: Hybrid, attachment: Attachment) -> dict[str, float]:
    """By leg, the lexical one first: as asked, else as the attachment has it, else 1 - alpha and alpha with alpha 0.7.

    Raises InvalidRequest when a field is named that is not embedded apart.
    """
    given = hybrid.weights or attachment.defaults.weights
    if given is None:
        alpha = DEFAULT_ALPHA if attachment.defaults.alpha is None else attachment.defaults.alpha
        return {LEXICAL: 1 - alpha, SEMANTIC: alpha}
    fields = [name for name in given if name not in (LEXICAL, SEMANTIC)]
    for name in fields:
        if not attachment.has_fields_apart or name not in attachment.source_fields or SEMANTIC in given:
            raise InvalidRequest(
                f"[weights] names [{name}]: there are lexical and semantic, or in its place the source fields of an index that was "
                "attached with [passages.fields: apart]"
            )
    semantic = {leg_of(name): given[name] for name in fields} or {SEMANTIC: given.get(SEMANTIC, 1.0)}
    return {LEXICAL: given.get(LEXICAL, 1.0), **semantic}


def leg_of(field: str) -> str:
    """The name of the semantic leg of one source field."""
    return f"{SEMANTIC} {field}"


def leaf_body(
    leg: StandardLeg | KnnLeg, window: int, search: Search, *, track_total_hits: bool | int = False
) -> dict[str, Any]:
    """The request for one leg's ranked list: ids and scores only."""
    body: dict[str, Any] = {"size": window, "_source": False, "track_total_hits": track_total_hits}
    if isinstance(leg, StandardLeg):
        body |= {"query": filtered(leg.query, leg.filters), **leg.options}
    else:
        body["knn"] = {"k": window, "num_candidates": num_candidates(window), **leg.section}
        if leg.filters:
            body["knn"]["filter"] = list(leg.filters)
    if leg.min_score is not None:
        body["min_score"] = leg.min_score
    if search.profile:
        body["profile"] = True
    return {**search.common, **body}


def filtered(query: dict[str, Any], filters: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"bool": {"must": [query], "filter": list(filters)}} if filters else query


def with_true_scores(
    body: dict[str, Any], lexical: StandardLeg, attachment: Attachment, vector: Vector, legs: Iterable[str]
) -> dict[str, Any]:
    """A leg's request whose every hit comes with its true score on each of `legs`, as named queries: BM25, and the nearness of its
    best passage, or of its best passage of one field.

    They stand in a post filter that lets everything pass. As a filter it is not scored while the leg is collected; named queries
    are scored when hits are fetched, so only the hits of the window cost anything, and no further request is needed.
    """
    by_leg = {leg_of(name): name for name in attachment.source_fields}
    named = [
        _named(lexical.query, LEXICAL)
        if leg == LEXICAL
        else by_best_passage(attachment, exact_score(attachment, vector, by_leg.get(leg)), _name=leg)
        for leg in legs
    ]
    return {**body, "post_filter": {"bool": {"must": [{"match_all": {}}], "should": named}}}


def exact_score(attachment: Attachment, vector: Vector, of_field: str | None = None) -> dict[str, Any]:
    """Nearness by the vectors as they were written, not as they were quantised. `of_field`: of its passages only."""
    field = attachment.vector_field
    query = (
        {"exists": {"field": field}} if of_field is None else {"term": {f"{attachment.passages_path}.field": of_field}}
    )
    return {"script_score": {
        "query": query,
        "script": {"source": similarity_scale(attachment).script, "params": {"vector": vector, "field": field}},
    }}  # fmt: skip


def few_body(filters: Sequence[dict[str, Any]], most: int, search: Search) -> dict[str, Any]:
    """Counts what passes the filters, up to one more than `most`."""
    query: dict[str, Any] = {"bool": {"filter": list(filters)}} if filters else {"match_all": {}}
    return {**search.common, "size": 0, "track_total_hits": most + 1, "terminate_after": most + 1, "query": query}


def page_body(
    keys: Sequence[Key], search: Search, highlighted: Sequence[dict[str, Any]], passages: dict[str, Any] | None
) -> dict[str, Any]:
    """What the caller wants to see of the hits of one page."""
    page = dict(search.page)
    if "highlight" in page and highlighted and isinstance(page["highlight"], dict):
        page["highlight"] = {"highlight_query": {"bool": {"should": list(highlighted)}}, **page["highlight"]}
    query: dict[str, Any] = {"bool": {"filter": [documents_query(keys)]}}
    if passages is not None:
        query["bool"]["should"] = [passages]
    return {**search.common, **page, "size": len(keys), "track_total_hits": False, "query": query}


def arranged_body(places: Mapping[Key, int], search: Search, highlighted: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The page where other things than the fused score decide: Elasticsearch sorts and collapses the candidates itself.

    `places`: each candidate's place from the worst (1) up, which stands as its score in the request.
    """
    body = page_body([], search, highlighted, None)
    by_place: dict[int, list[Key]] = {}
    for key, place in places.items():
        by_place.setdefault(place, []).append(key)
    scored = [{"constant_score": {"filter": documents_query(keys), "boost": place}} for place, keys in by_place.items()]
    body |= {"query": {"dis_max": {"queries": scored}}, "size": search.size, "from": search.start, "track_scores": True}
    if search.sort:
        body["sort"] = list(search.sort)
    if search.search_after:
        body["search_after"] = list(search.search_after)
    if search.collapse is not None:
        body["collapse"] = search.collapse
    return body


def matching_body(keys: Sequence[Key], query: dict[str, Any], search: Search) -> dict[str, Any]:
    """Which of the documents match a query, and with what score."""
    together = {"bool": {"filter": [documents_query(keys)], "must": [query]}}
    return {**search.common, "size": len(keys), "_source": False, "track_total_hits": False, "query": together}


def vectors_body(keys: Sequence[Key], field: str, search: Search) -> dict[str, Any]:
    """The values of a vector field, as they were written."""
    source = {"includes": [field], "exclude_vectors": False}
    return {
        **search.common,
        "size": len(keys),
        "_source": source,
        "track_total_hits": False,
        "query": documents_query(keys),
    }


def best_passage_clause(attachment: Attachment, vector: Vector) -> dict[str, Any]:
    """Finds the passage of each hit that is nearest to the query, with its offsets. For nested passages only."""
    path = attachment.passages_path
    shown = {"name": INNER_HITS, "size": 1, "_source": [f"{path}.start", f"{path}.end"]}
    return by_best_passage(attachment, exact_score(attachment, vector), inner_hits=shown)


def source_body(keys: Sequence[Key], fields: Sequence[str], search: Search) -> dict[str, Any]:
    """The text fields of hits, to cut passages from or to be read by a cross-encoder."""
    return {
        **search.common,
        "size": len(keys),
        "_source": list(fields),
        "track_total_hits": False,
        "query": documents_query(keys),
    }


def totals_body(leg_queries: Sequence[dict[str, Any]], nearest: Iterable[Key], search: Search) -> dict[str, Any]:
    """Counts and aggregates over what any leg matches: all of a query's matches, and the nearest of a vector."""
    should = [*leg_queries]
    near = list(nearest)
    if near:
        should.append(documents_query(near))
    body: dict[str, Any] = {
        "size": 0,
        "track_total_hits": search.track_total_hits,
        "query": {"bool": {"should": should, "minimum_should_match": 1}} if should else {"match_none": {}},
    }
    if search.aggregations is not None:
        body["aggs"] = search.aggregations
    if search.post_filter is not None:
        body["post_filter"] = search.post_filter
    if search.suggest is not None:
        body["suggest"] = search.suggest
    return {**search.common, **body}


def documents_query(keys: Sequence[Key]) -> dict[str, Any]:
    """A query for exactly these documents; ids are unique within an index only."""
    by_index: dict[str, list[str]] = {}
    for key in keys:
        by_index.setdefault(key.index, []).append(key.id)
    clauses = [
        {"bool": {"filter": [{"term": {"_index": index}}, {"ids": {"values": ids}}]}} for index, ids in by_index.items()
    ]
    return clauses[0] if len(clauses) == 1 else {"bool": {"should": clauses, "minimum_should_match": 1}}


def _named(query: dict[str, Any], name: str) -> dict[str, Any]:
    return {"bool": {"must": [query], "_name": name}}


def expand_fields(leg: FieldsLeg, target: Target) -> RrfLeg | LinearLeg:
    """The legs of the form with `query` and `fields`, as Elasticsearch makes them: the lexical fields by one `multi_match`, and
    with equal weight the semantic one. That one is asked where `fields` names the attachment's object (`esblend`), or nothing."""
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
            weight = _boost(field) if "^" in field else 1.0
            weighted.append(Weighted(KnnLeg(section, leg.filters, name=SEMANTIC), weight, leg.normalizer))
    if leg.kind == "rrf":
        return RrfLeg(tuple(weighted), leg.window, leg.rank_constant, leg.min_score, leg.name)
    return LinearLeg(tuple(weighted), leg.window, leg.min_score, leg.name)
