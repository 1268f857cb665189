"""`semantic` and `knn` clauses become kNN that finds documents, wherever a query may be."""

from typing import Any

import numpy as np
import pytest

from esblend.errors import EsblendError
from query.language.clauses import ranked_clauses
from query.run.semantic import is_for, replace_knn, replace_semantic
from tests.unit.query.plan.test_bodies import attachment

PASSAGES = "esblend.g1.passages"


async def embed(text: str) -> Any:
    return np.full(3, len(text), dtype=np.float32)


def clauses(body: dict[str, Any], kind: str) -> list[Any]:
    return [clause for clause in ranked_clauses(body) if clause.kind == kind]


async def test_clauses_become_knn_over_passages() -> None:
    body = {"query": {"bool": {"should": [{"match": {"body": "x"}}, {"semantic": {"query": "four", "boost": 2}}]}}}
    await replace_semantic(clauses(body, "semantic"), attachment(), embed, k=10)
    nested = body["query"]["bool"]["should"][1]["nested"]  # type: ignore[index]
    assert nested["path"] == PASSAGES
    assert nested["boost"] == 2
    assert nested["query"]["knn"]["query_vector"].tolist() == [4, 4, 4]


async def test_a_clause_has_its_own_k_filter_minimum_and_passages() -> None:
    term = {"term": {"kind": "a"}}
    options = {"query": "four", "k": 7, "filter": term, "min_score": 0.6, "inner_hits": {"size": 3}, "_name": "near"}
    body: dict[str, Any] = {"query": {"semantic": options}}
    await replace_semantic(clauses(body, "semantic"), attachment(), embed, k=10)
    function = body["query"]["function_score"]
    assert (function["min_score"], function["_name"]) == (0.6, "near")
    nested = function["query"]["nested"]
    assert nested["inner_hits"]["size"] == 3
    assert (nested["query"]["knn"]["k"], nested["query"]["knn"]["filter"]) == (7, [term])


async def test_a_server_without_k_gets_as_many_candidates() -> None:
    for own, expected in (({}, 10), ({"k": 7}, 7)):
        body: dict[str, Any] = {"query": {"semantic": {"query": "four", **own}}}
        await replace_semantic(clauses(body, "semantic"), attachment(), embed, k=10, has_k=False)
        knn = body["query"]["nested"]["query"]["knn"]
        assert ("k" in knn, knn["num_candidates"]) == (False, expected)


async def test_inside_nested_passages_a_clause_finds_passages() -> None:
    body: dict[str, Any] = {"query": {"nested": {"path": PASSAGES, "query": {"semantic": {"query": "four"}}}}}
    await replace_semantic(clauses(body, "semantic"), attachment(), embed, k=10)
    assert body["query"]["nested"]["query"]["knn"]["field"] == f"{PASSAGES}.vector"
    other: dict[str, Any] = {"query": {"nested": {"path": "comments", "query": {"semantic": {"query": "four"}}}}}
    with pytest.raises(EsblendError, match=r"move it out of \[nested\]"):
        await replace_semantic(clauses(other, "semantic"), attachment(), embed, k=10)


@pytest.mark.parametrize("name", ["esblend", "body", f"{PASSAGES}.vector"])
async def test_knn_on_the_attached_field_finds_documents_by_any_of_its_names(name: str) -> None:
    body: dict[str, Any] = {"query": {"bool": {"must": [{"knn": {"field": name, "query_vector": [1, 2, 3], "k": 2}}]}}}
    assert await replace_knn(clauses(body, "knn"), attachment(), embed)
    [clause] = body["query"]["bool"]["must"]
    assert clause["nested"]["query"] == {"knn": {"field": f"{PASSAGES}.vector", "query_vector": [1, 2, 3], "k": 2}}


async def test_knn_on_another_field_and_inside_nested_passages_remains() -> None:
    own = {"knn": {"field": "mine", "query_vector": [1]}}
    inside = {"nested": {"path": PASSAGES, "query": {"knn": {"field": f"{PASSAGES}.vector", "query_vector": [1]}}}}
    body: dict[str, Any] = {"query": {"bool": {"must": [own, inside]}}}
    before = repr(body)
    assert not await replace_knn(clauses(body, "knn"), attachment(), embed)
    assert repr(body) == before


def test_a_semantic_text_field_of_elasticsearch_is_left_alone() -> None:
    [unnamed, ours, other] = clauses(
        {"query": {"dis_max": {"queries": [
            {"semantic": {"query": "x"}}, {"semantic": {"query": "x", "field": "body"}},
            {"semantic": {"query": "x", "field": "inference_field"}},
        ]}}}, "semantic",
    )  # fmt: skip
    assert not is_for(other, attachment())
    assert is_for(ours, attachment())
    assert is_for(unnamed, attachment())


@pytest.mark.parametrize("clause", [{"query": ""}, {"query": 3}, {"query": "x", "window": 4}, {"query": "x", "k": 0}])
async def test_malformed_clauses_are_refused(clause: dict[str, Any]) -> None:
    with pytest.raises(EsblendError) as caught:
        await replace_semantic(clauses({"query": {"semantic": clause}}, "semantic"), attachment(), embed, k=10)
    assert caught.value.status == 400
