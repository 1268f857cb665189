"""Retrievers that Elasticsearch executes itself: the gateway leaves them to it, also as legs of a fusion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import BadRequestError

from tests.conftest import Stack
from tests.real.gateways import gateway_with
from tests.real.retriever_indices import (
    LEG_X,
    LEG_Y,
    PASSAGES,
    PLAIN,
    TEXTS,
    X,
    Y,
    diversify,
    ids,
    ids_and_scores,
    knn,
    rescorer,
    search,
)
from tests.real.retriever_indices import retriever_indices as _indices  # noqa: F401  the fixture

pytestmark = pytest.mark.usefixtures("_indices")


@pytest.mark.parametrize(
    "tree",
    [
        diversify(LEG_X),
        diversify(LEG_X, query_vector=[1.0, -0.5]),
        diversify(knn(), query_vector=[0.0, 1.0]),
        rescorer(LEG_X),
        diversify(rescorer(LEG_X)),
        rescorer(diversify(LEG_X, rank_window_size=12)),
        diversify(LEG_X, query_vector_builder={"lookup": {"index": PLAIN, "id": "3", "path": "v"}}),
        {
            "knn": {
                "field": "v",
                "k": 5,
                "num_candidates": 20,
                "query_vector_builder": {"lookup": {"index": PLAIN, "id": "3", "path": "v"}},
            }
        },
    ],
)
def test_what_the_server_executes_itself_is_answered_by_it(stack: Stack, tree: dict[str, Any]) -> None:
    for options in ({}, {"size": 3, "from": 1}, {"explain": True, "size": 2}):
        through, direct = (search(client, retriever=tree, **options) for client in (stack.gateway, stack.es))
        assert through.pop("took") >= direct.pop("took") * 0
        assert through == direct
        assert direct["hits"]["hits"]


@pytest.mark.parametrize("size", [1, 3, 9])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("query", [None, [1.0, -0.5]])
def test_diversify_over_a_fusion_selects_what_the_server_selects(
    stack: Stack, size: int, share: float, query: list[float] | None
) -> None:
    """A fusion of one leg has the leg's own hits and scores, so that both can be compared."""
    options = {"size": size, "lambda": share, "rank_window_size": 20, **({"query_vector": query} if query else {})}
    fused = {"linear": {"retrievers": [{"retriever": LEG_X}], "rank_window_size": 20}}
    ours, theirs = (
        search(stack.gateway, retriever=diversify(fused, **options)),
        search(stack.es, retriever=diversify(LEG_X, **options)),
    )
    assert ids(ours) == ids(theirs)
    assert dict(ids_and_scores(ours)) == pytest.approx(dict(ids_and_scores(theirs)))
    assert ours["hits"]["total"] == theirs["hits"]["total"]


@pytest.mark.parametrize(
    "options",
    [
        {"type": "other"},
        {"lambda": 2},
        {"lambda": None},
        {"size": 0},
        {"size": 11},
        {"query_vector": [1, 1], "query_vector_builder": {"lookup": {"index": PLAIN, "id": "3", "path": "v"}}},
    ],
)
def test_errors_of_diversify_are_the_servers(stack: Stack, options: dict[str, Any]) -> None:
    fused = {"linear": {"retrievers": [{"retriever": LEG_X}]}}
    errors = []
    for client, inner in ((stack.es, LEG_X), (stack.gateway, LEG_X), (stack.gateway, fused)):
        with pytest.raises(BadRequestError) as caught:
            search(client, retriever=diversify(inner, **{"size": 5, **options}))
        error = dict(caught.value.body["error"])
        errors.append({key: error.get(key) for key in ("type", "reason", "caused_by")})
    assert errors[0] == errors[1] or options == {"lambda": None}
    assert errors[0] == errors[2] or options == {"lambda": None}


def test_legs_that_the_server_executes_are_legs_of_a_fusion(stack: Stack) -> None:
    for inner in (rescorer(LEG_X), diversify(LEG_X, query_vector=[1.0, -0.5], size=10)):
        own = ids_and_scores(search(stack.es, retriever=inner, size=10))
        fused = search(stack.gateway, retriever={"rrf": {"retrievers": [inner, LEG_Y], "rank_window_size": 10}})
        second = ids(search(stack.es, query=Y, size=10))
        expected: dict[str, float] = {}
        for ranked in ([id_ for id_, _ in own], second):
            for rank, id_ in enumerate(ranked, 1):
                expected[id_] = expected.get(id_, 0) + 1 / (60 + rank)
        assert dict(ids_and_scores(fused)) == pytest.approx({id_: expected[id_] for id_ in ids(fused)})
        both = search(stack.es, query={"bool": {"should": [X, Y]}}, size=0)
        assert fused["hits"]["total"] == both["hits"]["total"]


def test_a_rule_is_refused_over_a_fusion_and_elasticsearchs_elsewhere(stack: Stack) -> None:
    rule = {"match_criteria": {"q": "x"}, "ruleset_ids": ["a"]}
    with pytest.raises(BadRequestError, match="Elasticsearch executes"):
        search(stack.gateway, retriever={"rule": {**rule, "retriever": {"rrf": {"retrievers": [LEG_X, LEG_Y]}}}})
    for tree in (
        {"rule": {**rule, "retriever": LEG_X}},
        {"rrf": {"retrievers": [{"rule": {**rule, "retriever": LEG_X}}, LEG_Y]}},
    ):
        with pytest.raises(BadRequestError, match=r"unknown retriever \[rule\]"):  # this server has no query rules
            search(stack.gateway, retriever=tree)


def test_a_lookup_of_a_vector_is_handed_over(stack: Stack) -> None:
    lookup = {"lookup": {"index": PLAIN, "id": "3", "path": "v"}}
    leg = {"knn": {"field": "v", "k": 5, "num_candidates": 20, "query_vector_builder": lookup}}
    alone = search(stack.es, retriever=leg, size=5)
    fused = search(stack.gateway, retriever={"rrf": {"retrievers": [leg]}}, size=5)
    assert set(ids(fused)) == set(ids(alone))


@pytest.mark.parametrize(
    ("choice", "attached", "plain"), [("attached", 200, 400), ("never", 400, 400), ("always", 200, 200)]
)
def test_a_switch_leaves_trees_to_elasticsearch(
    stack: Stack, tmp_path: Path, choice: str, attached: int, plain: int
) -> None:
    """This server has no `rrf`, so that its own answer is a 400."""
    builder = {"text_embedding": {"model_text": "animals of the sea"}}
    with gateway_with(stack, tmp_path, retrievers=choice) as client:
        for index, status in ((PASSAGES, attached), (PLAIN, plain)):
            response = client.options(ignore_status=400).search(
                index=index, body={"retriever": {"rrf": {"retrievers": [LEG_X, LEG_Y]}}}
            )
            assert response.meta.status == status
            if status == 400:
                assert response["error"]["reason"] == "unknown retriever [rrf]"
        assert search(client, PASSAGES, query={"hybrid": {"query": "sea"}})["hits"]["hits"]
        text = search(
            client,
            PASSAGES,
            retriever={"knn": {"field": "esblend", "k": 2, "num_candidates": 9, "query_vector_builder": builder}},
        )
        assert len(text["hits"]["hits"]) == 2


def test_a_text_in_a_leg_that_the_server_executes(stack: Stack, make_index: Callable[..., str]) -> None:
    builder = {"text_embedding": {"model_text": "ocean"}}
    leg = {"knn": {"field": "title", "k": 4, "num_candidates": 20, "query_vector_builder": builder}}
    rescore = {"window_size": 10, "query": {"rescore_query": {"match": {"title": "bread"}}}}
    tree = {"rrf": {"retrievers": [{"rescorer": {"retriever": leg, "rescore": rescore}}]}}
    response = search(stack.gateway, PASSAGES, retriever=tree)
    assert ids(response)[0] == "p1"  # bread
    assert len(ids(response)) == len(TEXTS)
    passages = diversify(leg, field="esblend", size=2)
    assert len(ids(search(stack.gateway, PASSAGES, retriever=passages))) == 2
