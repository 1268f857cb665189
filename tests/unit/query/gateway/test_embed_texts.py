"""What the gateway notes of a search before it replaces its clauses."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from esblend.errors import TooManyRequests
from query.gateway import embed_texts as module
from query.gateway.context import GatewayContext
from query.gateway.embed_texts import embed_texts
from query.gateway.expensive_searches import ExpensiveSearches
from query.run.requests import Caller


async def test_the_candidates_of_a_hybrid_inside_a_leg_do_not_count_as_the_callers_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def replace(context: Any, scope: Any, clause: Any, *others: Any) -> None:
        clause.replace({"bool": {"should": [{"term": {"_id": str(number)}} for number in range(1000)]}})

    monkeypatch.setattr(module, "_replace_hybrid", replace)
    leg = {"standard": {"query": {"bool": {"must": [{"hybrid": {"query": "wing"}}]}}}}
    body: dict[str, Any] = {"retriever": {"rrf": {"retrievers": [leg, leg]}}}
    changes = await embed_texts(cast(GatewayContext, None), {}, body, "articles", {}, is_fused=True)
    assert "hybrid" not in str(body)
    assert changes.parts < 20


async def test_a_hybrid_clause_is_refused_like_a_search_when_the_queue_is_long() -> None:
    def place() -> None:
        raise TooManyRequests("200 searches are in progress")

    context = SimpleNamespace(
        services=lambda _: SimpleNamespace(upstream=None), caller=lambda _: Caller((), "key"), expensive=ExpensiveSearches(1),
        searches=SimpleNamespace(place=place),
    )  # fmt: skip
    body: dict[str, Any] = {"query": {"bool": {"must": [{"hybrid": {"query": "wing"}}]}}}
    with pytest.raises(TooManyRequests, match="200 searches"):
        await embed_texts(cast(GatewayContext, context), {}, body, "articles", {})
