"""However the gateway executes a search, the hits, their order, scores and total are the same; `profile` names the plan."""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from tests.conftest import Stack
from tests.real.between_requests import Between, acting_between
from tests.real.gateways import gateway_with

INDEX, ALIAS = "plans", "plans-of-b"
WORDS = [
    "whale",
    "bread",
    "kitten",
    "sea",
    "deep",
    "blue",
    "yeast",
    "milk",
    "oven",
    "ship",
    "harbour",
    "paw",
    "flour",
    "tail",
]
ONE_REQUEST = "BM25 during encoding, then one request"
BY_NUMBER = "by sequence number"


@pytest.fixture(scope="module")
def client(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elasticsearch]:
    """A gateway that searches a small index by approximate kNN, as if it were large. Many documents are equal; some have no text,
    others several passages."""
    rng = random.Random(20)
    text = {"type": "text", "analyzer": "english"}
    stack.es.indices.create(
        index=INDEX,
        mappings={"properties": {"title": text, "body": text, "group": {"type": "keyword"}, "n": {"type": "integer"}}},
        settings={"number_of_shards": 1, "number_of_replicas": 0},
        aliases={ALIAS: {"filter": {"term": {"group": "b"}}}},
    )
    operations: list[dict[str, Any]] = []
    for number in range(240):
        words = rng.choices(WORDS, k=rng.choice([3, 3, 6, 6, 400]))
        document: dict[str, Any] = {"group": rng.choice("abc"), "n": number}
        if number % 12:
            document |= {"title": rng.choice(WORDS), "body": " ".join(words) + "."}
        operations += [{"index": {"_id": f"d{number}"}}, document]
        if number % 5 == 0:
            operations += [{"index": {"_id": f"twin{number}"}}, document]
    assert not stack.es.bulk(index=INDEX, operations=operations, refresh=True)["errors"]
    stack.attach(INDEX, "title", "body")
    stack.wait(INDEX)
    with gateway_with(stack, tmp_path_factory.mktemp("plans"), exact_knn_documents="0") as made:
        yield made
    stack.es.indices.delete(index=INDEX)


def a_search(rng: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {
        "alpha": rng.choice([0.1, 0.5, 0.9, 0.99]), "rank_window_size": rng.choice([15, 30, 60, 200]),
        "fields": rng.choice([["title"], ["title^2", "body"], ["body"], ["title", "body^0"]]),
        "filter": rng.choice([{"term": {"group": "a"}}, {"range": {"n": {"lt": rng.randint(1, 240)}}}]),
    }  # fmt: skip
    page: dict[str, Any] = {
        "size": rng.randint(0, 12), "from": rng.choice([0, 0, 3]), "track_total_hits": rng.choice([True, False, 7]),
        "_source": rng.choice([False, ["n", "title"]]), "fields": ["n"], "docvalue_fields": ["group"], "version": True,
        "highlight": {"fields": {"body": {}}}, "seq_no_primary_term": True, "post_filter": {"term": {"group": "c"}},
        "aggs": {"groups": {"terms": {"field": "group"}, "aggs": {"best": {"max": {"script": "_score"}}}}},
    }  # fmt: skip
    text = " ".join(rng.choices([*WORDS, "submarine", "the"], k=rng.randint(1, 5)))
    hybrid = {"query": text, **{key: value for key, value in options.items() if rng.random() < 0.4}}
    return {"query": {"hybrid": hybrid}, **{key: value for key, value in page.items() if rng.random() < 0.2}}


def plan_of(response: dict[str, Any]) -> str:
    return str(response["esblend"]["profile"]["plan"].get("requests", ""))


def identified_by(response: dict[str, Any]) -> str | None:
    """How the search identified the candidates; None for their ids."""
    given: str | None = response["esblend"]["profile"]["plan"].get("documents")
    return given


def answers(
    client: Elasticsearch, body: dict[str, Any], index: str = INDEX
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The plan that the gateway chooses, its response, and the response by the plan that explains every hit."""
    body = {**body, "profile": True}
    chosen = client.search(index=index, body=body).body
    explained = client.search(index=index, body={**body, "explain": True}).body
    for hit in explained["hits"]["hits"]:
        hit.pop("_explanation")
    return plan_of(chosen), chosen, explained


def test_every_plan_gives_the_same_hits(client: Elasticsearch) -> None:
    plans: Counter[str] = Counter()
    for seed in range(120):
        body = a_search(random.Random(seed))
        plan, chosen, explained = answers(client, body)
        plans[plan] += 1
        for key in ("hits", "aggregations", "_shards"):
            assert _rounded(chosen.get(key)) == _rounded(explained.get(key)), (seed, plan, body)
    assert plans[ONE_REQUEST] > 20, plans
    assert len(plans) > 1, plans


def test_an_alias_with_a_filter(client: Elasticsearch) -> None:
    for text in ("whale in the deep sea", "yeast bread", "kitten milk"):
        body = {"query": {"hybrid": {"query": text, "rank_window_size": 30}}, "_source": ["group"]}
        plan, chosen, explained = answers(client, body, ALIAS)
        assert _rounded(chosen["hits"]) == _rounded(explained["hits"]), plan
        assert {hit["_source"]["group"] for hit in chosen["hits"]["hits"]} == {"b"}


def test_a_window_as_large_as_the_index_allows(client: Elasticsearch, stack: Stack) -> None:
    body = {"query": {"hybrid": {"query": "whale bread kitten", "rank_window_size": 60}}}
    stack.es.indices.put_settings(index=INDEX, settings={"index.max_result_window": 60})
    try:
        _, chosen, explained = answers(client, body)
        assert _rounded(chosen["hits"]) == _rounded(explained["hits"])
    finally:
        stack.es.indices.put_settings(index=INDEX, settings={"index.max_result_window": None})


def test_a_highlighter_that_older_servers_do_not_know(client: Elasticsearch) -> None:
    semantic = {"fields": {"body": {"type": "semantic", "number_of_fragments": 1}}}
    plans = set()
    for text in ("whale bread", "kitten in the deep blue sea", "a ship in the harbour"):
        hybrid = {"query": text, "rank_window_size": 30}
        plan, chosen, explained = answers(client, {"query": {"hybrid": hybrid}, "highlight": semantic})
        plans.add(plan)
        shown, expected = (
            [hit.get("highlight") for hit in response["hits"]["hits"]] for response in (chosen, explained)
        )
        assert shown == expected
    assert ONE_REQUEST in plans


@pytest.mark.parametrize("options", [{"fusion": "rrf"}, {"blending": "windowed"}])
def test_bm25_runs_during_encoding(client: Elasticsearch, options: dict[str, Any]) -> None:
    body = {"query": {"hybrid": {"query": f"bread with {sorted(options)}", **options}}, "profile": True}
    response = client.search(index=INDEX, body=body).body
    assert plan_of(response) == "BM25 during encoding, then kNN"
    assert identified_by(response) == BY_NUMBER
    assert len(response["hits"]["hits"]) == 10


def a_search_by_lists(rng: random.Random) -> dict[str, Any]:
    """A search whose legs are cut to their windows before fusion."""
    cut = rng.choice(
        [{"fusion": "rrf"}, {"fusion": "rrf", "rank_constant": 1}, {"blending": "windowed"}, {"normalizer": "minmax"}]
    )
    even = {"weights": {"lexical": 1, "semantic": 1}}  # equal weights give many equal scores
    options = rng.choice(
        [{}, even, {"lexical": {"match": {"body": "milk oven"}}}, {"filters": {"semantic": {"term": {"group": "a"}}}}]
    )
    body = a_search(rng)
    hybrid = {**body["query"]["hybrid"], **cut, **options}
    if "weights" in hybrid:
        hybrid.pop("alpha", None)
    if "lexical" in hybrid:
        hybrid.pop("fields", None)
    return {**body, "query": {"hybrid": hybrid}}


def a_retriever(rng: random.Random) -> dict[str, Any]:
    def text() -> str:
        return " ".join(rng.choices([*WORDS, "submarine", "the"], k=rng.randint(1, 4)))

    def knn() -> dict[str, Any]:
        filters = rng.choice([{}, {"filter": {"term": {"group": "b"}}}])
        by_text = {"query_vector_builder": {"text_embedding": {"model_text": text()}}}
        return {"knn": {"field": "esblend", "k": rng.choice([5, 20, 40]), "num_candidates": 60, **by_text, **filters}}

    def standard() -> dict[str, Any]:
        return {"standard": {"query": {"match": {rng.choice(["title", "body"]): text()}}}}

    legs = rng.choice(
        [[standard(), knn()], [knn(), standard()], [standard(), knn()], [standard(), standard(), knn()], [knn(), knn()]]
    )
    window = {"rank_window_size": rng.choice([20, 40])}
    linear = [
        {"retriever": leg, "weight": rng.choice([0.5, 2]), "normalizer": rng.choice(["none", "minmax"])} for leg in legs
    ]
    fused = rng.choice([{"rrf": {"retrievers": legs, **window}}, {"linear": {"retrievers": linear, **window}}])
    if rng.random() < 0.2:
        fused = {"rrf": {"retrievers": [fused, standard()], **window}}
    page = {key: value for key, value in a_search(rng).items() if key not in ("query", "post_filter")}
    return {**page, "retriever": fused}


@pytest.mark.parametrize("make", [a_search_by_lists, a_retriever])
def test_sequence_numbers_give_the_same_hits_as_ids(
    client: Elasticsearch, make: Callable[[random.Random], dict[str, Any]]
) -> None:
    numbered = 0
    for seed in range(100):
        body = make(random.Random(seed))
        _, chosen, explained = answers(client, body)
        numbered += identified_by(chosen) == BY_NUMBER
        for key in ("hits", "aggregations", "_shards"):
            assert _rounded(chosen.get(key)) == _rounded(explained.get(key)), (seed, body)
    assert 20 < numbered < 100


def test_sequence_numbers_are_shown_if_asked_for(client: Elasticsearch) -> None:
    body = {"query": {"hybrid": {"query": "whale bread", "fusion": "rrf"}}, "_source": False, "profile": True}
    for asked, keys in ((False, set()), ("false", set()), (True, {"_seq_no", "_primary_term"})):
        response = client.search(index=INDEX, body={**body, "seq_no_primary_term": asked}).body
        assert identified_by(response) == BY_NUMBER
        assert {key for hit in response["hits"]["hits"] for key in hit} == {"_index", "_id", "_score"} | keys


def test_words_alone_are_searched_and_counted_once(client: Elasticsearch) -> None:
    body = {"query": {"hybrid": {"query": "whale bread", "fusion": "rrf", "weights": {"semantic": 0}}}, "profile": True}
    response = client.search(index=INDEX, body=body).body
    assert identified_by(response) == BY_NUMBER
    searches = {step["step"]: step.get("searches") for step in response["esblend"]["profile"]["steps"]}
    assert (searches["legs"], searches["page"]) == (1, 1)
    explained = client.search(index=INDEX, body={**body, "explain": True}).body
    assert response["hits"]["total"] == explained["hits"]["total"]


def test_an_index_that_allows_few_terms_is_searched_by_ids(client: Elasticsearch, stack: Stack) -> None:
    body = {"query": {"hybrid": {"query": "whale bread", "fusion": "rrf", "rank_window_size": 60}}, "size": 30}
    expected = client.search(index=INDEX, body=body).body
    stack.es.indices.put_settings(index=INDEX, settings={"index.max_terms_count": 20})
    try:
        response = client.search(index=INDEX, body={**body, "profile": True}).body
        assert identified_by(response) is None
        assert _rounded(response["hits"]) == _rounded(expected["hits"])
    finally:
        stack.es.indices.put_settings(index=INDEX, settings={"index.max_terms_count": None})


def test_searches_beside_writes_show_every_document_once(client: Elasticsearch, stack: Stack) -> None:
    """A document gets a new sequence number with every write; a search that lost one begins again with ids."""
    ended = threading.Event()

    def write() -> None:
        for number in itertools.cycle(range(240)):
            if ended.is_set():
                return
            stack.es.update(index=INDEX, id=f"d{number}", doc={"n": number}, detect_noop=False, refresh=True)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            for number in range(60):
                text = f"whale bread kitten sea deep milk {number}"
                hybrid = {"query": text, "fusion": "rrf", "rank_window_size": 100}
                hits = client.search(index=INDEX, query={"hybrid": hybrid}, size=50).body["hits"]["hits"]
                assert len({hit["_id"] for hit in hits}) == len(hits) == 50
        finally:
            ended.set()
        writing.result()


def test_a_document_that_is_written_between_two_requests_has_the_scores_of_both_legs(
    stack: Stack, make_index: Callable[..., str], tmp_path: Path
) -> None:
    """The last document by words is the first by meaning: without one of its scores, it would still be on the page."""
    index = make_index(number_of_shards=1)
    texts = ["a ship in the harbour", "yeast for the bread", "the paw of a kitten", "a blue tail", "whales in the sea"]
    operations = [
        line
        for number, text in enumerate(texts)
        for line in ({"index": {"_id": str(number)}}, {"body": text, "order": 10 - number, "views": 0})
    ]
    assert not stack.es.bulk(index=index, operations=operations, refresh=True)["errors"]
    stack.attach(index, "body")
    stack.wait(index)
    by_order = {"function_score": {"query": {"match_all": {}}, "field_value_factor": {"field": "order"}}}
    views = itertools.count(1)

    def write() -> None:
        stack.es.update(index=index, id="4", doc={"views": next(views)}, refresh=True)

    between = Between(stack.described["elasticsearch"])
    with (
        acting_between(between) as url,
        gateway_with(
            stack, tmp_path, environment={"ESBLEND_EXACT_KNN_DOCUMENTS": "0", "ESBLEND_ES_URL": url}
        ) as gateway,
    ):
        for options, before in itertools.product(({"fusion": "rrf"}, {"blending": "windowed"}, {}), (1, 2, 3)):
            query = {"hybrid": {"query": texts[-1], "lexical": by_order, **options}}
            expected = {hit["_id"]: hit["_score"] for hit in gateway.search(index=index, query=query)["hits"]["hits"]}
            between.arm(before, write)
            hits = gateway.search(index=index, query=query)["hits"]["hits"]
            assert between.has_acted or before == 3
            scores = {hit["_id"]: hit["_score"] for hit in hits}
            assert scores == pytest.approx(expected, rel=0.01), (options, before)  # quantized vectors


def test_documents_of_a_shrunk_index_share_sequence_numbers(
    client: Elasticsearch, stack: Stack, make_index: Callable[..., str]
) -> None:
    index = make_index(number_of_shards=4)
    rng = random.Random(4)
    operations: list[dict[str, Any]] = []
    for number in range(60):
        operations += [{"index": {"_id": f"d{number}"}}, {"body": " ".join(rng.choices(WORDS, k=4))}]
    assert not stack.es.bulk(index=index, operations=operations, refresh=True)["errors"]
    stack.attach(index, "body")
    stack.wait(index)
    small = f"{index}-small"
    stack.es.indices.put_settings(index=index, settings={"index.blocks.write": True})
    settings = {"index.number_of_shards": 1, "index.blocks.write": None}
    stack.es.indices.shrink(index=index, target=small, settings=settings)
    try:
        stack.attach(small, "body")
        stack.wait(small)
        for text, fusion in itertools.product(("whale bread", "kitten milk paw", "ship"), ("rrf", "linear")):
            for options in ({"fusion": fusion}, {}):
                hybrid = {"query": text, "rank_window_size": 30, **options}
                _, chosen, explained = answers(client, {"query": {"hybrid": hybrid}}, small)
                assert identified_by(chosen) is None
                assert _rounded(chosen["hits"]) == _rounded(explained["hits"]), hybrid
    finally:
        stack.es.indices.delete(index=small)


def test_a_text_to_embed_in_a_retriever_does_not_delay_its_other_legs(client: Elasticsearch) -> None:
    by_text = {"text_embedding": {"model_text": "a ship in the harbour"}}
    knn = {"field": "esblend", "k": 20, "num_candidates": 50, "query_vector_builder": by_text}
    legs = [{"knn": knn}, {"standard": {"query": {"match": {"body": "ship"}}}}]
    body = {"retriever": {"rrf": {"retrievers": legs, "rank_window_size": 20}}, "profile": True}
    response = client.search(index=INDEX, body=body).body
    assert plan_of(response) == "BM25 during encoding, then kNN"
    assert identified_by(response) == BY_NUMBER
    vector = {**knn, "query_vector": client.perform_request(
        "POST", "/_esblend/embed", headers={"accept": "application/json", "content-type": "application/json"},
        body={"texts": ["a ship in the harbour"], "index": INDEX},
    ).body["vectors"][0]}  # fmt: skip
    vector.pop("query_vector_builder")
    legs[0] = {"knn": vector}
    expected = client.search(index=INDEX, body=body).body
    assert [hit["_id"] for hit in response["hits"]["hits"]] == [hit["_id"] for hit in expected["hits"]["hits"]]


def _rounded(value: Any) -> Any:
    """Scores to six digits: Elasticsearch may add the 32-bit scores of a query's words in another order."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value
