"""The requests of one search."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import Boost, Search, StandardLeg
from query.language.url_parameters import Parameters
from query.run.boost import boosted
from query.run.diversify import read_vectors
from query.run.elasticsearch import ElasticsearchResponse
from query.run.exact_knn import ExactKnn
from query.run.requests import Caller, SearchRequests, ranked_lists

SEARCH = Search(StandardLeg({"match_all": {}}))


class Sent:
    """Takes the place of Elasticsearch; every count is 5,000, and every response has the same hits."""

    def __init__(self, *hits: dict[str, Any]) -> None:
        self.headers: list[dict[str, Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self._hits = hits

    async def post(self, *_: Any, body: list[dict[str, Any]], **__: Any) -> ElasticsearchResponse:
        self.headers += body[::2]
        self.bodies += body[1::2]
        response = {"hits": {"total": {"value": 5000}, "hits": self._hits}, "_shards": {}}
        return ElasticsearchResponse({"responses": [response] * (len(body) // 2)}, {})


def requests(sent: Sent, search: Search = SEARCH, **header: str) -> SearchRequests:
    return SearchRequests(sent, Caller((), "key"), "books", Parameters(header), search)  # type: ignore[arg-type]


async def test_all_requests_of_a_search_prefer_the_same_copies() -> None:
    sent = Sent()
    search = requests(sent)
    await search.raw("legs", [{}, {}])
    await replace(search, degraded=[]).raw("page", [{}])
    await requests(sent).raw("legs", [{}])
    *same, other = [header["preference"] for header in sent.headers]
    assert len(same) == 3
    assert len(set(same)) == 1
    assert other not in same


async def test_the_callers_preference_counts_and_a_point_in_time_has_none() -> None:
    sent = Sent()
    await requests(sent, preference="mine").raw("legs", [{}])
    await requests(sent, replace(SEARCH, common={"pit": {"id": "x"}})).raw("legs", [{}])
    assert sent.headers == [{"index": "books", "preference": "mine"}, {}]


@pytest.mark.parametrize("filters", [[], [{"term": {"lang": "en"}}]])
async def test_a_large_number_of_documents_is_counted_once(filters: list[dict[str, Any]]) -> None:
    sent, exact = Sent(), ExactKnn(1000)
    for _ in range(3):
        assert await exact.count_if_small(requests(sent), filters) is None
    assert len(sent.headers) == 1
    await exact.count_if_small(requests(sent), [{"term": {"lang": "de"}}])
    assert len(sent.headers) == 2


@pytest.mark.parametrize(("hits", "others_run"), [(10, False), (2_000, True)])
async def test_other_callers_do_not_wait_for_a_long_list(hits: int, others_run: bool) -> None:
    response = {"hits": {"hits": [{"_index": "i", "_id": str(n), "_score": 1.0} for n in range(hits)]}}
    other = asyncio.create_task(asyncio.sleep(0))
    [scores] = await ranked_lists([response])
    assert len(scores) == hits
    assert other.done() == others_run


@pytest.mark.parametrize(("documents", "others_run"), [(10, False), (500, True)])
async def test_other_callers_do_not_wait_for_many_vectors(documents: int, others_run: bool) -> None:
    hits = [{"_index": "i", "_id": str(n), "_source": {"v": [0.5, 0.5]}} for n in range(documents)]
    other = asyncio.create_task(asyncio.sleep(0))
    vectors = await read_vectors(requests(Sent(*hits)), [Key("i", "1")], "v", None)
    assert len(vectors) == documents
    assert other.done() == others_run


async def test_a_response_contains_at_most_10_000_candidates() -> None:
    """Both legs of a window of 10,000 may find 20,000."""
    sent = Sent({"_index": "i", "_id": "0", "_score": 1.0})
    fused = [FusedHit(Key("i", str(n)), 0.5, ()) for n in range(20_000)]
    [best, *_] = await boosted(requests(sent), [Boost("likes", 0.2, pivot=3.0)], fused)
    assert (best.key.id, best.score) == ("0", 0.7)
    assert [body["size"] for body in sent.bodies] == [10_000, 10_000]
