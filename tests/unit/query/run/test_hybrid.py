"""A search by `hybrid` before its first request."""

from collections.abc import Iterator
from typing import Any

import pytest

from esblend.errors import TooManyRequests
from esblend.settings import Settings
from query.language.tree import Hybrid, Search
from query.language.url_parameters import Parameters
from query.run.cross_encoder import Reranker
from query.run.exact_knn import ExactKnn
from query.run.hybrid import HybridSearch
from query.run.mean_vectors import MeanVectors
from query.run.query_encoder import QueryEmbedder
from query.run.requests import Caller, SearchRequests
from query.targets.metadata import Requester
from query.targets.target import Target
from tests.unit.query.plan.test_bodies import attachment


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> Iterator[QueryEmbedder]:
    monkeypatch.setattr(QueryEmbedder, "has_room", False)
    made = QueryEmbedder(Settings(model="minilm"))
    yield made
    made.close()


@pytest.mark.parametrize("options", [{}, {"fusion": "rrf"}])
async def test_a_search_whose_text_would_wait_too_long_sends_nothing(
    embedder: QueryEmbedder, options: dict[str, Any]
) -> None:
    """Neither Elasticsearch nor a client that reads the mean vector is there."""
    hybrid = Hybrid(("a new text",), **options)
    requests = SearchRequests(None, Caller((), "key"), "i", Parameters(), Search(hybrid))  # type: ignore[arg-type]

    def no_client() -> Any:
        raise AssertionError("a client was made")

    search = HybridSearch(
        requests, embedder, Reranker(Settings()), ExactKnn(1000), MeanVectors(None), Requester(no_client, "key"),
        is_page_enough=True,
    )  # fmt: skip
    with pytest.raises(TooManyRequests):
        await search.run(hybrid, [Target(("i",), attachment(), ({},), ("uuid",), can_search_numbers=True)])
