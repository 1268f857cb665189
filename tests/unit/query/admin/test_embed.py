"""`POST /_esblend/embed`."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from esblend.disconnect import CallerLeft
from query.admin.embed import embed
from query.run.query_encoder import QueryEmbedder
from query.targets.metadata import Metadata


async def test_texts_of_a_caller_that_leaves_are_not_embedded() -> None:
    body = json.dumps({"index": "articles", "texts": ["a", "b"]}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    cancelled: list[str] = []

    async def receive() -> Any:
        await asyncio.sleep(0)
        return messages.pop(0)

    async def embed_text(text: str, _: Any) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(text)
            raise

    async def target(*_: Any) -> Any:
        return SimpleNamespace(attachment=SimpleNamespace(generation=None))

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    metadata, embedder = SimpleNamespace(target=target), SimpleNamespace(embed=embed_text)
    with pytest.raises(CallerLeft):
        await embed(request, cast(Any, lambda _: None), cast(Metadata, metadata), cast(QueryEmbedder, embedder))
    assert sorted(cancelled) == ["a", "b"]
