"""Exact calibrated blending in one request, for an index with one shard.

while the query is encoded: the BM25 scores of the lexical leg's window, without ids -> the highest and the lowest score, the total
then one request:           first pass: nearest documents (a constant above every BM25 score, plus BM25), then the best of BM25
                            `min_score`: exactly the documents of both windows remain
                            `rescore`: the blend; the page's hits, each with both true scores as named queries

A kNN search that is a query is executed on each shard by itself, so that several shards would find more than the window.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mappings.attachment import Attachment
from query.fusion.blend import Blending
from query.fusion.normalizers import Calibration
from query.language.tree import Hybrid, Search, StandardLeg
from query.plan.documents import filtered
from query.plan.hybrid_legs import (
    LEXICAL,
    SEMANTIC,
    semantic_filters,
    shown_by,
    with_true_scores,
)
from query.plan.knn import Vector, by_best_passage, exact_score, knn_section
from query.plan.legs import leaf_body
from query.plan.page import page_options
from query.plan.shown import bare
from query.targets.target import Target

_TIE = 1e-6
"""Relative difference of two BM25 scores that 32-bit sums of the same parts in another order may have."""
_ROUNDING = 2e-6
"""Relative error of a 32-bit blended score."""
_MAX_RESCORED = 10_000
_LOWEST_HIGHEST = 1e-9
"""Below it, BM25 scores count as 0, as in the normaliser `max`."""
NEAREST_ONLY = "nearest_only"


@dataclass(frozen=True)
class LexicalWindow:
    """The lexical leg's scores, without its documents."""

    highest: float
    lowest: float | None
    """Of the window; None if every match is in the window."""
    total: Mapping[str, Any] | None
    """`hits.total` of the lexical leg; None if the search tracks no total."""

    @property
    def above_all(self) -> float:
        """A power of two above every BM25 score."""
        return 2.0 ** (math.ceil(math.log2(self.highest)) + 2)


def is_possible(
    hybrid: Hybrid, target: Target, search: Search, weights: Mapping[str, float], blending: Blending, window: int
) -> bool:
    """Whether one request can rank and fetch the page. Everything that needs the whole list of candidates cannot."""
    similarity = target.attachment.generation.vector.similarity
    is_default_blend = blending.is_calibrated and blending.combination == "sum" and hybrid.blending == "exact"
    changes_ranking: tuple[object, ...] = (
        hybrid.min_score, hybrid.rerank, hybrid.autocut, hybrid.inner_hits, hybrid.interleave, hybrid.lexical, *hybrid.boosts,
        *hybrid.lexical_filters, *hybrid.semantic_filters, *shown_by(hybrid),
    )  # fmt: skip
    needs_candidates = (
        search.start, search.explain, search.sort, search.search_after, search.collapse, search.counts_more, search.shows_no_ids,
    )  # fmt: skip
    return (
        target.is_one_shard
        and is_default_blend
        and similarity in ("dot_product", "cosine")
        and set(weights) == {LEXICAL, SEMANTIC}
        and all(weight > 0 for weight in weights.values())
        and not any(part is not None for part in changes_ranking)
        and not any(needs_candidates)
        and 0 < search.size < window
        and 2 * window <= _MAX_RESCORED
    )


def lexical_window_body(leg: StandardLeg, window: int, search: Search) -> dict[str, Any]:
    """The scores of the lexical leg's window and one more, without documents: reading ids takes longer than finding them."""
    body = leaf_body(leg, window + 1, search, track_total_hits=search.track_total_hits)
    return {**body, "stored_fields": "_none_"}


def lexical_window(response: Mapping[str, Any], window: int) -> LexicalWindow | None:
    """None if the response is not complete, if it has no match with a usable score, or if equal scores cross the end of the window:
    scores do not tell which document is inside."""
    if "error" in response or response["timed_out"] or response["_shards"]["failed"]:
        return None
    scores = [float(hit["_score"] or 0.0) for hit in response["hits"]["hits"]]
    if not scores or scores[0] <= _LOWEST_HIGHEST:
        return None
    total = response["hits"].get("total")
    if len(scores) <= window:
        return LexicalWindow(scores[0], None, total)
    lowest = scores[window - 1]
    return None if scores[window] >= lowest * (1 - 4 * _TIE) else LexicalWindow(scores[0], lowest, total)


def one_request_body(
    hybrid: Hybrid, leg: StandardLeg, attachment: Attachment, vector: Vector, calibration: Calibration,
    weights: Mapping[str, float], lexical: LexicalWindow, search: Search, window: int,
) -> dict[str, Any]:  # fmt: skip
    """The request for the page, and one hit more. `leg`: the lexical leg."""
    section = knn_section(attachment, vector, window)
    filters = semantic_filters(hybrid)
    if filters:
        section["filter"] = list(filters)
    nearest = {"constant_score": {"filter": by_best_passage(attachment, {"knn": section}), "boost": lexical.above_all}}
    matching = filtered(bare(leg.query), list(map(bare, leg.filters)))
    body: dict[str, Any] = {
        **page_options(search, [bare(filtered(leg.query, leg.filters))]),
        "query": {"bool": {"should": [matching, nearest]}},
        "size": search.size + 1,
        "rescore": {"window_size": 2 * window, "query": {
            "query_weight": 0,
            "rescore_query_weight": 1,
            "rescore_query": _blend_query(leg, attachment, vector, calibration, weights, lexical.highest),
        }},
    }  # fmt: skip
    if lexical.lowest is not None:
        body["min_score"] = lexical.lowest * (1 - 2 * _TIE)
    if lexical.total is not None and lexical.total["relation"] == "eq":
        # `min_score` applies to aggregations too, so they see the documents of both windows.
        body["aggs"] = {NEAREST_ONLY: {"filter": {"bool": {"must_not": [matching]}}}}
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


def total_of_both(most: bool | int, lexical: LexicalWindow, response: Mapping[str, Any]) -> dict[str, Any] | None:
    """`hits.total` over both legs; None if the search tracks no total. `most`: the request's `track_total_hits`."""
    if lexical.total is None:
        return None
    if lexical.total["relation"] != "eq":
        return dict(lexical.total)
    value = lexical.total["value"] + response["aggregations"][NEAREST_ONLY]["doc_count"]
    if most is not True and value > int(most):
        return {"value": int(most), "relation": "gte"}
    return {"value": value, "relation": "eq"}
