"""`hybrid.boost_by`: recency, distance and popularity of the candidates become a part of their scores."""

from collections.abc import Sequence
from typing import Any

from esblend.event_loop import off_loop
from query.fusion.ranked_lists import FusedHit, LegContribution, Method, Scores
from query.language.tree import Boost
from query.plan.documents import matching_body, parts_of_result
from query.run.candidates import MANY_CANDIDATES
from query.run.requests import SearchRequests, ranked_lists

_SATURATION = "double v = doc[params.field].value; return v <= 0 ? 0 : v / (v + params.pivot)"
"""Painless, for documents that have a value."""


async def boosted(requests: SearchRequests, boosts: Sequence[Boost], fused: list[FusedHit]) -> list[FusedHit]:
    """The candidates with `weight` times a value from 0 to 1 added to each score, best first. Raises UpstreamError."""
    if not boosts or not fused:
        return fused
    parts = parts_of_result([hit.key for hit in fused])
    asked = [(boost, part) for boost in boosts for part in parts]
    bodies = [matching_body(part, _value_of(boost), requests.search) for boost, part in asked]
    responses = await requests.ask("boost_by", bodies)
    for (boost, _), response in zip(asked, responses, strict=True):
        if failures := response["_shards"].get("failures"):
            requests.degrade(
                f"boost_by {boost.path}", str((failures[0].get("reason") or {}).get("reason", "shards failed"))
            )
    lists = await ranked_lists(responses)
    values = [
        {key: value for scores in lists[start : start + len(parts)] for key, value in scores.items()}
        for start in range(0, len(lists), len(parts))
    ]
    return await off_loop(len(fused) > MANY_CANDIDATES, _with_values, fused, boosts, values)


def _with_values(fused: Sequence[FusedHit], boosts: Sequence[Boost], values: Sequence[Scores]) -> list[FusedHit]:
    boosted_hits = []
    for hit in fused:
        parts = [LegContribution("hybrid", 1.0, None, hit.score, hit.score, hit.score, inner=hit)]
        for boost, by_key in zip(boosts, values, strict=True):
            value = by_key.get(hit.key, 0.0)
            parts.append(
                LegContribution(f"boost_by {boost.path}", boost.weight, None, value, value, boost.weight * value)
            )
        score = sum(part.contribution for part in parts)
        boosted_hits.append(FusedHit(hit.key, score, tuple(parts), Method("boost_by")))
    return sorted(boosted_hits, key=lambda hit: -hit.score)


def _value_of(boost: Boost) -> dict[str, Any]:
    """A query whose score is from 0 to 1; it does not match documents without a value, for which `gauss` would give 1."""
    exists = {"exists": {"field": boost.path}}
    function: dict[str, Any] = {"gauss": {boost.path: boost.decay}}
    if boost.pivot is not None:
        script = {"source": _SATURATION, "params": {"field": boost.path, "pivot": boost.pivot}}
        function = {"script_score": {"script": script}}
    query = {"constant_score": {"filter": exists}}
    return {"function_score": {"query": query, "functions": [function], "boost_mode": "replace"}}
