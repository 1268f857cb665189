"""`text_similarity_reranker` and `hybrid.rerank`: a cross-encoder reads the texts of the best candidates."""

import time
from collections.abc import Sequence

from esblend.errors import BudgetSpent, ModelError
from mappings.source import source_text
from query.fusion.ranked_lists import FusedHit, LegContribution, Method
from query.page.hits import key_of
from query.plan.documents import source_body
from query.run.cross_encoder import Reranker
from query.run.requests import SearchRequests

RERANKED = Method("text_similarity_reranker")


async def rerank(
    requests: SearchRequests,
    reranker: Reranker,
    name: str,
    text: str,
    fields: Sequence[str],
    model: str | None,
    candidates: list[FusedHit],
) -> list[FusedHit]:
    """`candidates` in the order of the cross-encoder. When it fails or takes too long, their order stays and the response is
    reported as degraded."""
    if not candidates:
        return candidates
    [response] = await requests.ask("texts", [source_body([hit.key for hit in candidates], fields, requests.search)])
    texts = {key_of(hit): source_text(hit.get("_source") or {}, fields).text for hit in response["hits"]["hits"]}
    began = time.perf_counter()
    try:
        scores = await reranker.scores(model, text, [texts.get(hit.key, "") for hit in candidates])
    except (ModelError, BudgetSpent) as error:
        requests.degrade("rerank", error.reason)
        return candidates
    requests.took("rerank", began, documents=len(candidates))
    reranked = [
        FusedHit(hit.key, score, (LegContribution(name, 1.0, rank, score, score, score, inner=hit),), RERANKED)
        for rank, (hit, score) in enumerate(zip(candidates, scores, strict=True), 1)
    ]
    return sorted(reranked, key=lambda hit: -hit.score)


def behind(best: Sequence[FusedHit], others: Sequence[FusedHit]) -> list[FusedHit]:
    """`others` in their order behind the reranked hits: positive scores are scaled down to the lowest of the reranked scores."""
    if not best or not others or others[0].score <= best[-1].score:
        return list(others)
    factor = best[-1].score / others[0].score
    return [_scaled(hit, factor) if hit.score > 0 else hit for hit in others]


def _scaled(hit: FusedHit, factor: float) -> FusedHit:
    score = hit.score * factor
    part = LegContribution("behind the reranked hits", factor, None, hit.score, hit.score, score, inner=hit)
    return hit._replace(score=score, parts=(part,))
