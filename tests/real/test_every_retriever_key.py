"""Every key of every retriever has an effect, or is refused by name. The keys come from the declarations of `query.language`."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from query.language import rank
from query.language.retriever_checks import COMMON, FUSED_LEG_KEYS, RESCORE_KEYS, RESCORE_QUERY_KEYS, RETRIEVER_KEYS
from tests.conftest import Stack
from tests.real.test_every_key import INDEX, MATCH, TERM, TEXT, Body, Group, ask, check_key
from tests.real.test_every_key import _index as _index

ALL: Body = {"standard": {"query": {"match_all": {}}}}
WORDS: Body = {"standard": {"query": MATCH}}
FEED: Body = {"standard": {"query": {"match": {"body": "feed dog motorway"}}}}
BY_TEXT = {"text_embedding": {"model_text": TEXT}}
FUSED: Body = {"rrf": {"retrievers": [ALL, FEED]}}
RESCORE: Body = {"window_size": 6, "query": {"rescore_query": TERM}}
VECTOR = [0.05] * 384
CUT, NAMED = [TERM, [TERM]], ["mine"]


def of_retriever(kind: str, base: Body, *, inside: bool = False) -> Callable[[str, Any], Body]:
    """A search by the retriever; `inside`: as a leg of a fusion, so that the gateway executes it."""

    def insert(key: str, value: Any) -> Body:
        tree = {kind: {**copy.deepcopy(base), **({key: value} if key else {})}}
        return {"retriever": {"rrf": {"retrievers": [tree, ALL]}} if inside else tree, "explain": True}

    return insert


def of_leg(kind: str) -> Callable[[str, Any], Body]:
    def insert(key: str, value: Any) -> Body:
        leg = {"retriever": FEED, **({key: value} if key else {})}
        return {"retriever": {kind: {"retrievers": [leg, {"retriever": ALL}]}}}

    return insert


def of_rescore(key: str, value: Any) -> Body:
    rescore = {**RESCORE, **({key: value} if key else {})}
    return {"retriever": {"rescorer": {"retriever": FUSED, "rescore": rescore}}}


def of_rescore_query(key: str, value: Any) -> Body:
    return of_rescore("query", {**RESCORE["query"], **({key: value} if key else {})})


def of_rank(key: str, value: Any) -> Body:
    return {
        "rank": {"rrf": {key: value} if key else {}},
        "sub_searches": [{"query": MATCH}, {"query": {"match_all": {}}}],
    }


def common(*, minimum: float) -> dict[str, list[Any]]:
    return {"filter": CUT, "min_score": [minimum, str(minimum)], "_name": NAMED}


RETRIEVERS = {
    "standard": Group(RETRIEVER_KEYS["standard"] | COMMON, of_retriever("standard", ALL["standard"], inside=True), {
        **common(minimum=5), "query": [TERM], "sort": ["year", [{"year": "desc"}]], "search_after": [[2003]],
        "collapse": [{"field": "kind"}], "terminate_after": [1, "1"],
    }),
    "knn": Group(
        RETRIEVER_KEYS["knn"] | COMMON,
        of_retriever("knn", {"field": "esblend", "query_vector_builder": BY_TEXT, "k": 4}, inside=True), {
            **common(minimum=0.9), "field": ["absent"], "query_vector": [VECTOR], "k": [1, "1"], "num_candidates": [1],
            "query_vector_builder": [{"text_embedding": {"model_text": "brake"}}], "similarity": [0.95],
            "visit_percentage": [200], "rescore_vector": [{"oversample": -1}],
        },
    ),
    "rrf": Group(RETRIEVER_KEYS["rrf"] | COMMON, of_retriever("rrf", FUSED["rrf"]), {
        **common(minimum=0.02), "retrievers": [[FEED]], "query": [TEXT], "fields": [["body"]], "rank_constant": [5, "5"],
        "rank_window_size": [2, "2"],
    }),
    "linear": Group(
        RETRIEVER_KEYS["linear"] | COMMON,
        of_retriever("linear", {"retrievers": [{"retriever": ALL}, {"retriever": FEED}]}), {
            **common(minimum=1.5), "retrievers": [[{"retriever": FEED}]], "query": [TEXT], "fields": [["body"]],
            "normalizer": ["l2_norm", "other"], "rank_window_size": [2, "2"],
        },
    ),
    "rescorer": Group(
        RETRIEVER_KEYS["rescorer"] | COMMON, of_retriever("rescorer", {"retriever": FUSED, "rescore": RESCORE}), {
            **common(minimum=0.5), "retriever": [{"rrf": {"retrievers": [FEED]}}],
            "rescore": [{**RESCORE, "query": {"rescore_query": {"match_all": {}}}}, [RESCORE, RESCORE]],
        },
    ),
    "pinned": Group(RETRIEVER_KEYS["pinned"] | COMMON, of_retriever("pinned", {"ids": ["tax"], "retriever": FUSED}), {
        **common(minimum=1), "ids": [["sea"], ["sea", "tax"]], "docs": [[{"_index": INDEX, "_id": "sea"}]],
        "retriever": [{"rrf": {"retrievers": [FEED]}}], "rank_window_size": [2, "2"],
    }),
    "diversify": Group(
        RETRIEVER_KEYS["diversify"] | COMMON,
        of_retriever("diversify", {"type": "mmr", "field": "esblend", "lambda": 0.5, "size": 4, "retriever": FUSED}), {
            **common(minimum=0.02), "type": ["other"], "field": ["absent"], "lambda": [1.0, "1.0", 2], "size": [2, "2"],
            "rank_window_size": [2], "retriever": [{"rrf": {"retrievers": [FEED]}}], "query_vector": [VECTOR],
            "query_vector_builder": [BY_TEXT],
        },
    ),
    "text_similarity_reranker": Group(
        RETRIEVER_KEYS["text_similarity_reranker"] | COMMON, of_retriever("text_similarity_reranker", {"retriever": FUSED}), {},
        dict.fromkeys(RETRIEVER_KEYS["text_similarity_reranker"] | COMMON, "needs a cross-encoder: test_reranking"),
    ),
    "rule": Group(
        RETRIEVER_KEYS["rule"] | COMMON, of_retriever("rule", {"retriever": ALL}, inside=True), {},
        dict.fromkeys(RETRIEVER_KEYS["rule"] | COMMON, "Elasticsearch's own: test_server_retrievers"),
    ),
    "a leg of rrf": Group(FUSED_LEG_KEYS["rrf"], of_leg("rrf"), {"retriever": [WORDS], "weight": [0.1, "0.1", -1]}),
    "a leg of linear": Group(FUSED_LEG_KEYS["linear"], of_leg("linear"), {
        "retriever": [WORDS], "weight": [0.1, "0.1", -1], "normalizer": ["l2_norm", "other"],
    }),
    "rescore": Group(RESCORE_KEYS, of_rescore, {
        "window_size": [2], "query": [{"rescore_query": {"match_all": {}}}],
    }),
    "rescore.query": Group(RESCORE_QUERY_KEYS, of_rescore_query, {
        "rescore_query": [{"match_all": {}}], "query_weight": [0, "0"], "rescore_query_weight": [3, "3"],
        "score_mode": ["multiply", "other"],
    }),
    "rank.rrf": Group(rank.RRF_KEYS, of_rank, {
        "rank_constant": [5, "5"], "rank_window_size": [5], "window_size": [5],
    }),
}  # fmt: skip
CASES = [
    (name, key, value) for name, group in RETRIEVERS.items() for key, values in group.probes.items() for value in values
]


def test_every_retriever_has_a_group() -> None:
    assert RETRIEVER_KEYS.keys() <= RETRIEVERS.keys()


@pytest.mark.parametrize("name", RETRIEVERS)
def test_every_declared_key_has_a_probe(name: str) -> None:
    group = RETRIEVERS[name]
    assert group.probes.keys() | group.without_effect.keys() == group.keys


@pytest.mark.parametrize(("name", "key", "value"), CASES, ids=lambda part: str(part)[:50])
def test_a_key_has_an_effect_or_is_refused_by_name(stack: Stack, name: str, key: str, value: Any) -> None:
    check_key(stack, RETRIEVERS[name], key, value)


@pytest.mark.parametrize("name", RETRIEVERS)
def test_an_unknown_key_is_refused_by_name(stack: Stack, name: str) -> None:
    status, response = ask(stack, RETRIEVERS[name].insert("no_such_key", 1))
    assert status == 400
    assert "no_such_key" in str(response["error"])
