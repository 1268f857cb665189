"""`POST /_esblend/embed` returns the vectors that a search uses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from elasticsearch import ApiError

from tests.conftest import Stack


def test_a_clients_own_knn_gets_the_vector_of_its_text(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "the cat sat on the mat"}, {"body": "stocks fell sharply"})
    stack.attach(index, "body")
    stack.wait(index)
    texts = ["a feline on a rug", "markets went down"]
    answer = stack.call("POST", "/_esblend/embed", {"index": index, "texts": texts})
    assert (answer["field"], answer["dims"]) == ("esblend.g1.passages.vector", 384)
    assert np.linalg.norm(answer["vectors"], axis=1) == pytest.approx([1, 1], abs=1e-5)
    for vector, best in zip(answer["vectors"], ("0", "1"), strict=True):
        knn = {"field": answer["field"], "query_vector": vector, "k": 1, "num_candidates": 10}
        query = {"nested": {"path": answer["path"], "query": {"knn": knn}}}
        assert stack.es.search(index=index, query=query)["hits"]["hits"][0]["_id"] == best


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"texts": ["a"]}, 400, "embed.index"),
        ({"index": "test-absent", "texts": []}, 400, "embed.texts"),
        ({"index": "test-absent", "texts": ["a"] * 101}, 400, "101 texts"),
        ({"index": "test-absent", "texts": ["a" * 100_001]}, 400, "100001 characters"),
        ({"index": "test-absent", "texts": ["a"], "model": "x"}, 400, "model"),
        ({"index": "test-absent", "texts": ["a"]}, 404, "test-absent"),
        ([], 400, "object"),
    ],
)
def test_bad_requests_are_rejected(stack: Stack, body: Any, status: int, reason: str) -> None:
    with pytest.raises(ApiError, match=reason) as caught:
        stack.call("POST", "/_esblend/embed", body)
    assert caught.value.meta.status == status
