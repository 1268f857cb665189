"""Exact calibrated blending in one request, for an index with one shard.

while the query is encoded: BM25 with the sequence numbers of its window gives the highest score and the total
then one request:           first pass: the documents of the window and the nearest documents, not scored
                            `rescore`: the blend; the page's hits, each with both true scores as named queries

A kNN search that is a query is executed on each shard by itself, so that several shards would find more than the window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mappings.attachment import Attachment
from query.fusion.blend import Blending
from query.fusion.normalizers import Calibration
from query.fusion.ranked_lists import Scores
from query.language.tree import Hybrid, Search, StandardLeg
from query.plan.documents import documents_query
from query.plan.hybrid_legs import (
    LEXICAL,
    SEMANTIC,
    is_fetched_by_number,
    semantic_filters,
    with_true_scores,
)
from query.plan.knn import Vector, by_best_passage, exact_score, knn_section
from query.plan.legs import leaf_body
from query.plan.page import page_options
from query.plan.sequence_numbers import NumbersMissing, keys_of_hits, nearest_only, numbered
from query.plan.shown import bare
from query.plan.tree_queries import matching
from query.targets.target import Target

_ROUNDING = 2e-6
"""Relative error of a 32-bit blended score."""
_MAX_RESCORED = 10_000
_LOWEST_HIGHEST = 1e-9
"""Below it, BM25 scores count as 0, as in the normaliser `max`."""
IN_WINDOW, NEAREST_ONLY = "in_window", "nearest_only"


@dataclass(frozen=True)
class LexicalWindow:
    """The lexical leg's documents by sequence number, without the documents themselves."""

    scores: Scores
    total: Mapping[str, Any] | None
    """`hits.total` of the lexical leg; None if the search tracks no total."""

    @property
    def highest(self) -> float:
        return next(iter(self.scores.values()))


def is_possible(
    hybrid: Hybrid, target: Target, search: Search, weights: Mapping[str, float], blending: Blending, window: int
) -> bool:
    """Whether one request can rank and fetch the page. Everything that needs the whole list of candidates cannot."""
    similarity = target.attachment.generation.vector.similarity
    is_default_blend = blending.is_calibrated and blending.combination == "sum" and hybrid.blending == "exact"
    has_further_legs = hybrid.lexical is not None or bool(hybrid.lexical_filters) or bool(hybrid.semantic_filters)
    return (
        is_fetched_by_number(hybrid, target, search)
        and is_default_blend
        and similarity in ("dot_product", "cosine")
        and set(weights) == {LEXICAL, SEMANTIC}
        and all(weight > 0 for weight in weights.values())
        and not has_further_legs
        and search.size < window
        and 2 * window <= _MAX_RESCORED
    )


def lexical_window_body(leg: StandardLeg, window: int, search: Search) -> dict[str, Any]:
    """The lexical leg's window."""
    return numbered(leaf_body(leg, window, search, track_total_hits=search.track_total_hits))


def lexical_window(response: Mapping[str, Any]) -> LexicalWindow | None:
    """None if the response is not complete, or if it has no match with a usable score."""
    if "error" in response or response["timed_out"] or response["_shards"]["failed"]:
        return None
    hits = response["hits"]["hits"]
    try:
        keys = keys_of_hits(hits)
    except NumbersMissing:
        return None
    scores = {key: float(hit["_score"] or 0.0) for key, hit in zip(keys, hits, strict=True)}
    window = LexicalWindow(scores, response["hits"].get("total"))
    return window if scores and window.highest > _LOWEST_HIGHEST else None


def one_request_body(
    hybrid: Hybrid, leg: StandardLeg, attachment: Attachment, vector: Vector, calibration: Calibration,
    weights: Mapping[str, float], lexical: LexicalWindow, search: Search, window: int,
) -> dict[str, Any]:  # fmt: skip
    """The request for the page, and one hit more. `leg`: the lexical leg."""
    section = knn_section(attachment, vector, window)
    filters = semantic_filters(hybrid)
    if filters:
        section["filter"] = list(filters)
    nearest = {"constant_score": {"filter": by_best_passage(attachment, {"knn": section})}}
    matched = matching(leg)
    in_window = documents_query(list(lexical.scores))
    body: dict[str, Any] = {
        **page_options(search, [matched]),
        "query": {"bool": {"should": [in_window, nearest]}},
        "size": search.size + 1,
        "rescore": {"window_size": 2 * window, "query": {
            "query_weight": 0,
            "rescore_query_weight": 1,
            "rescore_query": _blend_query(leg, attachment, vector, calibration, weights, lexical.highest),
        }},
        "aggs": {IN_WINDOW: {"filter": in_window}},
    }  # fmt: skip
    if lexical.total is not None and lexical.total["relation"] == "eq":
        body["aggs"][NEAREST_ONLY] = {"filter": nearest_only(matched)}
    if search.profile:
        body["profile"] = True
    return with_true_scores(body, hybrid, leg, attachment, vector, weights)


def _blend_query(
    leg: StandardLeg, attachment: Attachment, vector: Vector, calibration: Calibration, weights: Mapping[str, float], highest: float
) -> dict[str, Any]:  # fmt: skip
    """A query whose score is the blended score plus a constant: Elasticsearch has no negative scores.

    w0 * BM25 / highest + w1 * (dot - m) / (p - m) + w1 * (1 + m) / (p - m), where a document without vectors has no dot
    product, and 0 for the middle part.
    """
    vectors = by_best_passage(attachment, {"exists": {"field": attachment.vector_field}})
    should: list[dict[str, Any]] = [
        {"bool": {"must": [bare(leg.query)], "boost": weights[LEXICAL] / highest}},
        {
            "bool": {
                "must": [by_best_passage(attachment, exact_score(attachment, vector))],
                "boost": weights[SEMANTIC] / calibration.distance,
            }
        },
    ]
    constant = _constant_part(calibration, weights)
    if constant > 0:
        should.append({"constant_score": {"filter": {"bool": {"must_not": [vectors]}}, "boost": constant}})
    return {"bool": {"should": should}}


def _constant_part(calibration: Calibration, weights: Mapping[str, float]) -> float:
    return weights[SEMANTIC] * (1 + calibration.mean) / calibration.distance


def is_page_certain(scores: Sequence[float], size: int, calibration: Calibration, weights: Mapping[str, float]) -> bool:
    """Whether the best `size` of the hits are the best of all: the next hit is lower by more than the rounding of 32-bit scores.

    `scores`: exact blended scores of the hits in Elasticsearch's order, one more than the page if there are more.
    """
    if len(scores) <= size:
        return True
    rounding = _ROUNDING * (1 + _constant_part(calibration, weights) + abs(scores[0]))
    return min(scores[:size]) - scores[size] > rounding
