"""Searches that Elasticsearch answers itself have the same answer through the gateway, field by field.

A few hundred generated requests go to both: plain queries, `knn`, retrievers of one leg, aggregations, collapse, highlighting,
sort, fields. Many contain words that make the gateway read the body (a field called `hybrid`, a value `semantic`). Where esblend
executes a tree, a fusion of one leg gives the same list, so that its page, its totals and its aggregations can be compared too.
"""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch

from tests.conftest import Stack

INDEX = "differential"
WORDS = ["whale", "bread", "kitten", "sea", "deep", "blue", "yeast", "milk", "hybrid", "semantic", "rrf"]
SEEDS = range(300)
PROPERTIES: dict[str, Any] = {
    "b": {"type": "text", "fields": {"raw": {"type": "keyword"}}}, "group": {"type": "keyword"}, "n": {"type": "integer"},
    "day": {"type": "date"}, "hybrid": {"type": "keyword"}, "linear": {"type": "integer"},
    "v": {"type": "dense_vector", "dims": 3, "similarity": "cosine", "index": True, "index_options": {"type": "hnsw"}},
    "parts": {"type": "nested", "properties": {"p": {"type": "keyword"}}},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _index(stack: Stack) -> Iterator[None]:
    rng = random.Random(18)
    stack.es.indices.create(
        index=INDEX, mappings={"properties": PROPERTIES}, settings={"number_of_shards": 2, "number_of_replicas": 0}
    )
    operations: list[dict[str, Any]] = []
    for number in range(80):
        operations += [{"index": {"_id": f"d{number}"}}, {
            "b": " ".join(rng.choices(WORDS, k=rng.randint(1, 8))), "group": rng.choice("abcd"), "n": rng.randint(0, 20),
            "day": f"2026-0{rng.randint(1, 9)}-01", "hybrid": rng.choice(WORDS), "linear": rng.randint(0, 3),
            "v": [rng.uniform(-1, 1) for _ in range(3)], "parts": [{"p": rng.choice("xyz")} for _ in range(rng.randint(0, 3))],
        }]  # fmt: skip
    assert not stack.es.bulk(index=INDEX, operations=operations, refresh=True)["errors"]
    yield
    stack.es.indices.delete(index=INDEX)


@pytest.fixture(scope="module")
def attached(stack: Stack) -> Iterator[str]:
    """A copy of the index, attached and embedded: no write or merge changes scores or the documents' order afterwards."""
    name = f"{INDEX}-attached"
    stack.es.indices.create(
        index=name, mappings={"properties": PROPERTIES}, settings={"number_of_shards": 2, "number_of_replicas": 0}
    )
    stack.es.reindex(source={"index": INDEX}, dest={"index": name}, refresh=True)
    stack.attach(name, "b")
    stack.wait(name)
    stack.es.indices.forcemerge(index=name, max_num_segments=1)
    stack.es.indices.refresh(index=name)
    yield name
    stack.es.indices.delete(index=name)


def a_query(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    word = rng.choice(WORDS)
    plain: list[dict[str, Any]] = [
        {"match": {"b": f"{word} {rng.choice(WORDS)}"}}, {"match_all": {}}, {"term": {"hybrid": word}},
        {"range": {"n": {"gte": rng.randint(0, 15)}}}, {"terms": {"linear": [rng.randint(0, 3), 2]}}, {"match_phrase": {"b": word}},
        {"nested": {"path": "parts", "query": {"term": {"parts.p": rng.choice("xyz")}}}},
        {"constant_score": {"filter": {"term": {"group": rng.choice("abcd")}}, "boost": 2}},
        {"function_score": {"query": {"match": {"b": word}}, "field_value_factor": {"field": "n", "missing": 1}}},
        {"script_score": {"query": {"match": {"b": word}}, "script": {"source": "_score + doc['n'].value"}}},
    ]  # fmt: skip
    if depth == 0 and rng.random() < 0.4:
        clauses = {kind: [a_query(rng, 1)] for kind in rng.sample(["must", "should", "filter", "must_not"], 2)}
        return {"bool": {**clauses, "_name": "both"}}
    return rng.choice(plain)


def a_knn(rng: random.Random) -> dict[str, Any]:
    k = rng.randint(1, 20)
    section = {
        "field": "v",
        "query_vector": [round(rng.uniform(-1, 1), 3) for _ in range(3)],
        "k": k,
        "num_candidates": 80,
    }
    return {**section, **({"filter": a_query(rng, 1)} if rng.random() < 0.3 else {})}


def a_ranking(rng: random.Random) -> dict[str, Any]:
    """A query, a `knn` section, both, or a retriever of one leg."""
    kind = rng.randrange(6)
    if kind == 0:
        return {"knn": a_knn(rng)}
    if kind == 1:
        return {"query": a_query(rng), "knn": [a_knn(rng)]}
    if kind == 2:
        return {
            "retriever": {
                "standard": {"query": a_query(rng), **({"filter": a_query(rng, 1)} if rng.random() < 0.3 else {})}
            }
        }
    if kind == 3:
        return {"retriever": {"knn": a_knn(rng)}}
    return {"query": a_query(rng)}


def the_rest(rng: random.Random, *, sorted_too: bool) -> dict[str, Any]:
    """What stands beside the ranking: each part in a third of the requests."""
    parts: dict[str, Any] = {
        "size": rng.randint(0, 12), "from": rng.randint(0, 4), "track_total_hits": rng.choice([True, False, 5]),
        "_source": rng.choice([False, ["n", "b"], {"includes": ["b", "parts.*"]}, True]),
        "fields": ["n", {"field": "day", "format": "yyyy"}],
        "docvalue_fields": ["group"], "highlight": {"fields": {"b": {}}}, "version": True, "seq_no_primary_term": True,
        "script_fields": {"twice": {"script": "doc['n'].value * 2"}}, "post_filter": {"terms": {"group": ["a", "b"]}},
        "collapse": {"field": "group", "inner_hits": {"name": "others", "size": 2, "sort": ["n"]}}, "stored_fields": ["_none_"],
        "aggs": {"groups": {"terms": {"field": "group"}, "aggs": {"n": {"avg": {"field": "n"}}}},
                 "days": {"date_histogram": {"field": "day", "calendar_interval": "quarter"}}},
        "min_score": rng.choice([0.1, 0.9, 1.5]), "explain": True, "timeout": "10s",
        "runtime_mappings": {"half": {"type": "double", "script": "emit(doc['n'].value / 2.0)"}},
    }  # fmt: skip
    if sorted_too:
        parts["sort"] = rng.choice(
            [["n", {"group": "desc"}, "_doc"], [{"_score": "desc"}, {"n": "asc"}, "_doc"], ["_doc"]]
        )
        parts["suggest"] = {"text": "whalle", "one": {"term": {"field": "b"}}}
    chosen = {key: value for key, value in parts.items() if rng.random() < 0.25}
    if "stored_fields" in chosen:  # no source, no fields
        for key in ("_source", "version", "fields"):
            chosen.pop(key, None)
    return chosen


def answer(client: Elasticsearch, body: dict[str, Any], index: str = INDEX, **params: Any) -> dict[str, Any]:
    """The response or the error, without what differs from call to call."""
    try:
        response = dict(client.search(index=index, body=body, **params).body)
    except ApiError as error:
        response = dict(error.body)
    response.pop("took", None)
    return response


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_answer_from_the_server_and_through_the_gateway(stack: Stack, seed: int) -> None:
    rng = random.Random(seed)
    ranking = a_ranking(rng)
    body = {**ranking, **the_rest(rng, sorted_too="retriever" not in ranking)}
    params = rng.choice(
        [{}, {}, {"typed_keys": True}, {"rest_total_hits_as_int": True}, {"filter_path": "hits.hits._id,hits.total"}]
    )
    if "rest_total_hits_as_int" in params and body.get("track_total_hits") == 5:
        params = {}  # Elasticsearch refuses a limit with an integer
    params = {**params, "preference": "_local"}
    assert answer(stack.gateway, body, **params) == answer(stack.es, body, **params), body


def of_one_leg(body: dict[str, Any], kind: str) -> dict[str, Any]:
    """The same list from a fusion, which esblend executes: `linear` of one leg keeps the scores of the leg."""
    leg = {"standard": {"query": body["query"]}} if "query" in body else {"knn": body["knn"]}
    rest = {key: value for key, value in body.items() if key not in ("query", "knn")}
    weighted = {"retriever": leg} if kind == "linear" else leg
    return {**rest, "retriever": {kind: {"retrievers": [weighted], "rank_window_size": 100}}}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fusion_of_one_leg_has_the_legs_page_totals_and_aggregations(stack: Stack, seed: int) -> None:
    rng = random.Random(seed + 1000)
    ranking = {"query": a_query(rng)} if rng.random() < 0.7 else {"knn": a_knn(rng)}
    rest = the_rest(rng, sorted_too=False)
    rest.pop("explain", None)  # of another query
    rest.pop("stored_fields", None)  # whether hits have ids depends on the other keys
    if "min_score" in rest:
        rest.pop("collapse", None)  # groups hold the remaining hits only
    if "knn" in ranking:
        rest.pop(
            "collapse", None
        )  # Elasticsearch's groups of a kNN search have all documents of the group as inner hits
    body = {"size": 10, **ranking, **rest}
    expected, fused = answer(stack.es, body), answer(stack.gateway, of_one_leg(body, "linear"))
    assert "error" not in expected, (expected, body)
    _without_page_details(expected)
    _without_page_details(fused)
    assert fused == expected, body


@pytest.mark.parametrize("seed", range(100))
def test_a_hybrid_of_one_leg_has_the_page_of_its_query(stack: Stack, attached: str, seed: int) -> None:
    rng = random.Random(seed + 5000)
    query, rest = a_query(rng), the_rest(rng, sorted_too=True)
    rest.pop("explain", None)  # of another query
    rest.pop("stored_fields", None)  # hits of a hybrid always have ids
    if "min_score" in rest:
        rest.pop("collapse", None)  # groups hold the remaining hits only
    lexical = {"query": "x", "lexical": query, "alpha": 0, "normalizer": "none", "rank_window_size": 1000}
    body = {"track_scores": True, **rest}
    expected = answer(stack.es, {"query": query, **body}, index=attached)
    fused = answer(stack.gateway, {"query": {"hybrid": lexical}, **body}, index=attached)
    assert "error" not in expected, (expected, body)
    of_query, of_hybrid = _scores(expected), _scores(fused)
    assert of_hybrid == pytest.approx(of_query, rel=1e-5), body
    for response in (expected, fused):
        _without_page_details(response)
        response["_shards"].pop("skipped")
    assert fused == expected, body


def _scores(response: dict[str, Any]) -> list[float]:
    """The scores of the hits and the highest one, which are taken out of the response."""
    hits = response["hits"]["hits"]
    scores = [hit["_score"] for hit in hits]
    highest = response["hits"]["max_score"]
    for hit in hits:
        hit["_score"] = None
    response["hits"]["max_score"] = None
    return [*scores, highest] if hits and highest is not None else scores


def _without_page_details(response: dict[str, Any]) -> None:
    """Scores to four digits, since the gateway adds 64-bit numbers; no sequence numbers in groups: plain searches show -2."""
    for hit in response["hits"]["hits"]:
        for inner in hit.get("inner_hits", {}).get("others", {}).get("hits", {}).get("hits", []):
            inner.pop("_seq_no", None), inner.pop("_primary_term", None)
        hit["_score"] = None if hit["_score"] is None else round(hit["_score"], 4)
    top = response["hits"]["max_score"]
    response["hits"]["max_score"] = None if top is None else round(top, 4)
