"""Both sides of an interleaved search run at the same time."""

import asyncio

import pytest

from esblend.errors import InvalidRequest
from query.language.search_body import parse_search
from query.language.tree import Hybrid
from query.language.url_parameters import Parameters
from query.run.candidates import RankedCandidates
from query.run.interleave import rank_interleaved
from query.run.requests import Caller, SearchRequests


async def test_a_side_that_fails_cancels_the_other() -> None:
    interleave = {"a": {"alpha": 0.2}, "b": {"alpha": 0.8}, "experiment": "alpha"}
    search = parse_search({"query": {"hybrid": {"query": "whale", "interleave": interleave}}})
    cancelled = asyncio.Event()

    async def rank(_: SearchRequests, hybrid: Hybrid) -> RankedCandidates:
        await asyncio.sleep(0)
        if hybrid.weights == {"lexical": pytest.approx(0.2), "semantic": pytest.approx(0.8)}:
            raise InvalidRequest("one side fails")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    requests = SearchRequests(None, Caller((), "key"), "i", Parameters(), search)  # type: ignore[arg-type]
    assert isinstance(search.ranking, Hybrid)
    assert search.ranking.interleave is not None
    with pytest.raises(InvalidRequest):
        await rank_interleaved(requests, search.ranking, search.ranking.interleave, rank)
    assert cancelled.is_set()
