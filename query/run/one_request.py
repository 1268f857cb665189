"""Ranks and fetches the page of a `hybrid` search in one request; `query/plan/one_request.py` has the plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from esblend.errors import UpstreamError
from esblend.metrics import LEG_SECONDS
from query.fusion.blend import SemanticScale, blend
from query.fusion.normalizers import Calibration
from query.fusion.ranked_lists import FusedHit
from query.language.tree import Hybrid, StandardLeg
from query.page.hits import fused_page, key_of
from query.plan.knn import Vector
from query.plan.one_request import (
    IN_WINDOW,
    NEAREST_ONLY,
    LexicalWindow,
    is_page_certain,
    lexical_window,
    lexical_window_body,
    one_request_body,
)
from query.plan.sequence_numbers import NumbersMissing, total_of_both
from query.run.passages import highlighted_by_words
from query.run.requests import SearchRequests
from query.run.true_scores import true_scores
from query.targets.target import Target


@dataclass(frozen=True)
class Page:
    """The hits of a page in fused order, and what fusion knows about them."""

    fused: list[FusedHit]
    hits: list[dict[str, Any]]
    counts: dict[str, Any]
    """The response that has the total."""


async def read_lexical_window(requests: SearchRequests, leg: StandardLeg, window: int) -> LexicalWindow | None:
    """None if the plan cannot use the response; other requests then report its errors."""
    body = lexical_window_body(leg, window, requests.search)
    try:
        [response] = await requests.raw("lexical", [body], has_documents=False)
    except UpstreamError:
        return None
    if "took" in response:
        LEG_SECONDS.labels("lexical").observe(response["took"] / 1000)
    return lexical_window(response)


async def page_in_one_request(
    requests: SearchRequests, hybrid: Hybrid, leg: StandardLeg, target: Target, vector: Vector, calibration: Calibration,
    weights: Mapping[str, float], lexical: LexicalWindow, window: int,
) -> Page | None:  # fmt: skip
    """None if the request fails, or if 32-bit scores cannot tell which hit is the last of the page: other requests can. Raises
    NumbersMissing if a document of the lexical window has been written since it was read."""
    attachment = target.attachment
    search = highlighted_by_words(requests.search, attachment)
    body = one_request_body(hybrid, leg, attachment, vector, calibration, weights, lexical, search, window)
    try:
        [response] = await requests.raw("search", [body], named_scores=True)
    except UpstreamError:
        return None
    # More than one shard: the target changed since its metadata was read.
    if (
        "error" in response
        or response["timed_out"]
        or response["_shards"]["failed"]
        or response["_shards"]["total"] != 1
    ):
        return None
    if response["aggregations"][IN_WINDOW]["doc_count"] != len(lexical.scores):
        raise NumbersMissing
    LEG_SECONDS.labels("both").observe(response["took"] / 1000)
    lists = true_scores([response], attachment, weights)
    scale = SemanticScale(dict.fromkeys(target.indices, calibration))
    by_key = {hit.key: hit for hit in blend(lists, weights, scale=scale, highest=lexical.highest)}
    in_order = [by_key[key_of(hit)] for hit in response["hits"]["hits"]]
    if not is_page_certain([hit.score for hit in in_order], search.size, calibration, weights):
        return None
    fused = sorted(in_order[: search.size], key=lambda hit: -hit.score)  # equal scores keep Elasticsearch's order
    hits = fused_page(fused, response)
    for hit in hits:
        hit.pop("matched_queries", None)
    total = None
    if lexical.total is not None:
        apart = response["aggregations"].get(NEAREST_ONLY, {"doc_count": 0})["doc_count"]
        total = total_of_both(search.track_total_hits, lexical.total, apart)
    return Page(fused, hits, {"_shards": response["_shards"], "hits": {} if total is None else {"total": total}})
