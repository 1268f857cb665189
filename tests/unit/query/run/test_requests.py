"""The requests of one search."""

from dataclasses import replace
from typing import Any

import pytest

from query.language.tree import Search, StandardLeg
from query.language.url_parameters import Parameters
from query.run.elasticsearch import ElasticsearchResponse
from query.run.exact_knn import ExactKnn
from query.run.requests import Caller, SearchRequests

SEARCH = Search(StandardLeg({"match_all": {}}))


class Sent:
    """Takes the place of Elasticsearch; every count is 5,000."""

    def __init__(self) -> None:
        self.headers: list[dict[str, Any]] = []

    async def request(self, *_: Any, body: list[dict[str, Any]], **__: Any) -> ElasticsearchResponse:
        self.headers += body[::2]
        response = {"hits": {"total": {"value": 5000}, "hits": []}}
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
