"""What the gateway notes of a search before it replaces its clauses."""

from typing import Any, cast

import pytest

from query.gateway import embed_texts as module
from query.gateway.context import GatewayContext
from query.gateway.embed_texts import embed_texts


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
