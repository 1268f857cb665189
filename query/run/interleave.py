"""Ranks by two configurations of `hybrid` at the same time and interleaves their hits.

side a -> candidates \\
                      team draft -> one list; each hit knows its side
side b -> candidates /
"""

import hashlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any

from esblend.errors import InvalidRequest
from query.fusion.team_draft import team_draft
from query.language.tree import Hybrid, Interleave
from query.run.candidates import RankedCandidates
from query.run.requests import SearchRequests
from query.run.together import together

Rank = Callable[[SearchRequests, Hybrid], Coroutine[Any, Any, RankedCandidates]]


async def rank_interleaved(
    requests: SearchRequests, hybrid: Hybrid, interleave: Interleave, rank: Rank
) -> RankedCandidates:
    """Candidates in interleaved order. A hit's score is 1 / rank, because scores of two configurations cannot be compared.

    The order is the same for the same caller, session, experiment, index and query, so pages continue each other. Raises
    InvalidRequest with `sort` or `collapse`, which would replace the order, and EsblendError when a side fails.
    """
    search = requests.search
    if search.needs_elasticsearch_sort:
        raise InvalidRequest("[hybrid.interleave] decides the order of the hits; remove [sort] and [collapse]")
    own = {"a": _separate(requests), "b": _separate(requests)}
    a, b = await together(rank(own["a"], interleave.a), rank(own["b"], interleave.b))
    for side, part in own.items():
        _merge(requests, part, side)
    # The vector of a side finds the best passages of all hits, so it must be of the attachment's generation.
    vector_of = a if a.vector is not None else b
    if hybrid.inner_hits is not None and a.attachment != b.attachment:
        raise InvalidRequest("[hybrid.inner_hits] needs the same [generation] on both sides of [hybrid.interleave]")
    picks = team_draft(a.fused, b.fused, _seed(requests, hybrid, interleave))
    return RankedCandidates(
        fused=[pick.hit._replace(score=1 / rank) for rank, pick in enumerate(picks, 1)],
        match_queries=_distinct([*a.match_queries, *b.match_queries]),
        nearest=list(dict.fromkeys([*a.nearest, *b.nearest])),
        vector=vector_of.vector,
        attachment=vector_of.attachment,
        shown=tuple(_distinct([*a.shown, *b.shown])),
        picks={pick.hit.key: pick for pick in picks},
    )


def _seed(requests: SearchRequests, hybrid: Hybrid, interleave: Interleave) -> bytes:
    parts = (requests.caller.key, interleave.session or "", interleave.experiment, requests.target, *hybrid.texts)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


def _separate(requests: SearchRequests) -> SearchRequests:
    """The same search with separate records, since both sides run at the same time."""
    return replace(requests, headers={}, degraded=[], steps=[], shards=[], plan={}, failed_shards={})


def _merge(requests: SearchRequests, part: SearchRequests, side: str) -> None:
    requests.headers.update(part.headers)
    requests.degraded += [f"side {side}: {reason}" for reason in part.degraded]
    requests.steps += [{**step, "side": side} for step in part.steps]
    requests.shards += part.shards
    requests.plan |= {f"{side}.{key}": value for key, value in part.plan.items()}
    requests.failed_shards |= part.failed_shards
    requests.timed_out |= part.timed_out
    requests.pit_id = part.pit_id or requests.pit_id


def _distinct(queries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    distinct: list[dict[str, Any]] = []
    for query in queries:
        if query not in distinct:
            distinct.append(query)
    return distinct
