"""Gateway and worker find and use the example plug-in package."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Stack
from tests.real.gateways import gateway_with


def test_all_four_kinds(
    stack: Stack, plugins: Path, make_index: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index({"body": "red apples\ngreen pears"}, {"body": "blue cars"}, {"body": "old red houses"})
    stack.attach(index, "body", model="hashing:64", passages={"splitter": "lines"})
    stack.wait(index)
    passages = stack.es.get(index=index, id="0")["_source"]["esblend"]["g1"]["passages"]
    assert [(passage["start"], passage["end"]) for passage in passages] == [(0, 11), (11, 22)]
    response = stack.gateway.search(
        index=index, query={"hybrid": {"query": "green pears", "fusion": "best"}}, explain=True
    )
    assert response["hits"]["hits"][0]["_id"] == "0"
    monkeypatch.setenv("PYTHONPATH", str(plugins))
    with gateway_with(stack, tmp_path, reranker="shared-words:") as reranking:
        hits = reranking.search(index=index, query={"hybrid": {"query": "old red", "rerank": True}})["hits"]["hits"]
    assert [(hit["_id"], hit["_score"]) for hit in hits] == [("2", 1.0), ("0", 0.5), ("1", 0.0)]


def test_what_is_not_there_is_named_with_what_is(stack: Stack, make_index: Callable[..., str]) -> None:
    from elasticsearch import ApiError

    index = make_index({"body": "text"})
    for options, reason in (
        ({"model": "unknown:1"}, r"unknown entry point \[unknown\].*esblend.encoders.*hashing, openai, tei"),
        ({"passages": {"splitter": "unknown"}}, r"unknown entry point \[unknown\].*esblend.passages.*lines, sentences"),
    ):
        with pytest.raises(ApiError, match=reason):
            stack.attach(index, "body", **options)
