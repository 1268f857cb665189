"""The `rescorer` retriever: scores the best candidates of a leg again with further queries."""

from collections.abc import Callable, Sequence

from query.fusion.ranked_lists import FusedHit, LegContribution, Method, Scores
from query.language.tree import Rescorer, RescorerLeg
from query.plan.documents import matching_body
from query.run.requests import SearchRequests, scores_of

_MODES: dict[str, Callable[[float, float], float]] = {
    "total": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "avg": lambda a, b: (a + b) / 2,
    "max": max,
    "min": min,
}


async def rescore(requests: SearchRequests, leg: RescorerLeg, candidates: list[FusedHit]) -> list[FusedHit]:
    """Each rescorer in turn rescores its own window; candidates below the window follow in their order."""
    for rescorer in leg.rescorers:
        window = rescorer.window or 10
        best, below_window = candidates[:window], candidates[window:]
        body = matching_body([hit.key for hit in best], rescorer.query, requests.search)
        [response] = await requests.ask("rescore", [body])
        candidates = [*rescored(leg.name, rescorer, best, scores_of(response)), *below_window]
    return candidates


def rescored(name: str, rescorer: Rescorer, best: Sequence[FusedHit], scores: Scores) -> list[FusedHit]:
    """Combine scores as Elasticsearch's query rescorer. A document that the query does not match keeps its weighted score."""
    fused = []
    for hit in best:
        weighted = rescorer.original_weight * hit.score
        parts = [
            LegContribution("first stage", rescorer.original_weight, None, hit.score, hit.score, weighted, inner=hit)
        ]
        score = weighted
        if hit.key in scores:
            raw = scores[hit.key]
            added = rescorer.rescore_weight * raw
            score = _MODES[rescorer.mode](weighted, added)
            parts.append(LegContribution(f"{name} ({rescorer.mode})", rescorer.rescore_weight, None, raw, raw, added))
        fused.append(FusedHit(hit.key, score, tuple(parts), Method("rescorer", rescorer.mode)))
    return sorted(fused, key=lambda hit: -hit.score)
