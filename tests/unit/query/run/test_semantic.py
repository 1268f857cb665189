"""`semantic` clauses are found wherever a query may stand, and only those."""

from typing import Any

import numpy as np
import pytest

from esblend.errors import EsblendError
from query.language.semantic import semantic_clauses
from query.run.semantic import is_for, replace_semantic
from tests.unit.query.plan.test_bodies import attachment


async def embed(text: str) -> Any:
    return np.full(3, len(text), dtype=np.float32)


async def test_clauses_become_knn_over_passages() -> None:
    body = {"query": {"bool": {"should": [{"match": {"body": "x"}}, {"semantic": {"query": "four", "boost": 2}}]}}}
    await replace_semantic(body, attachment(), embed, k=10)
    nested = body["query"]["bool"]["should"][1]["nested"]  # type: ignore[index]
    assert nested["path"] == "esblend.g1.passages"
    assert nested["boost"] == 2
    assert nested["query"]["knn"]["query_vector"].tolist() == [4, 4, 4]


def test_a_field_called_semantic_is_no_clause() -> None:
    assert list(semantic_clauses({"query": {"match": {"semantic": "word"}}})) == []
    assert list(semantic_clauses({"query": {"match": {"semantic": {"query": "word"}}}})) != []


def test_a_semantic_text_field_of_elasticsearch_is_left_alone() -> None:
    assert not is_for({"semantic": {"query": "x", "field": "inference_field"}}, attachment())
    assert is_for({"semantic": {"query": "x", "field": "body"}}, attachment())
    assert is_for({"semantic": {"query": "x"}}, attachment())


@pytest.mark.parametrize("clause", [{"query": ""}, {"query": 3}, {"query": "x", "k": 4}])
async def test_malformed_clauses_are_refused(clause: dict[str, Any]) -> None:
    with pytest.raises(EsblendError) as caught:
        await replace_semantic({"query": {"semantic": clause}}, attachment(), embed, k=10)
    assert caught.value.status == 400
