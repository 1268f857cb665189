"""Vector options: one per document, other similarities, existing vectors, few vectors; and mappings that request an attachment."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from elasticsearch import ApiError

from esblend.encoder.encoder import Encoder
from esblend.encoder.model import Form
from tests.conftest import Stack
from tests.packaged_encoder import packaged_encoder
from tests.real.faults import wait_for, with_vectors

DOCUMENTS = [
    {"title": "Whales", "body": "Large mammals of the sea that breathe air."},
    {"title": "Bread", "body": "Flour, water, yeast and an oven."},
    {"title": "Rockets", "body": "Engines that carry satellites into orbit."},
]
QUESTION = "marine animals"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return packaged_encoder()


def texts() -> list[str]:
    return [f"{document['title']}\n{document['body']}" for document in DOCUMENTS]


def search(stack: Stack, index: str, **body: Any) -> dict[str, Any]:
    return dict(stack.gateway.search(index=index, body=body).body)


def raw_scores(answer: dict[str, Any]) -> dict[str, float]:
    """Of the semantic leg, from the explanations."""
    results = {}
    for explained in answer["esblend"]["explanations"]:
        [leg] = [leg for leg in explained["legs"] if leg["leg"].startswith("semantic")]
        results[explained["_id"]] = leg["score"]
    return results


def test_one_vector_a_document(stack: Stack, make_index: Callable[..., str], encoder: Encoder) -> None:
    index = make_index(*DOCUMENTS)
    stack.attach(index, "title", "body", vector={"layout": "flat"})
    stack.wait(index)
    stored = with_vectors(stack, index, "0")["esblend"]["g1"]
    assert "passages" not in stored
    np.testing.assert_allclose(stored["vector"], encoder.encode_documents(texts()[:1])[0], atol=1e-5)
    answer = search(stack, index, query={"hybrid": {"query": QUESTION, "inner_hits": {}}}, explain=True)
    dots = encoder.encode_documents(texts()) @ encoder.encode_query(QUESTION)
    assert raw_scores(answer) == pytest.approx({str(n): dot for n, dot in enumerate(dots)}, abs=1e-5)
    best = answer["hits"]["hits"][0]
    assert best["_id"] == "0"
    assert best["inner_hits"]["passages"]["hits"]["hits"][0]["fields"]["text"] == [texts()[0]]
    semantic = search(stack, index, query={"semantic": {"query": QUESTION}})
    assert semantic["hits"]["hits"][0]["_id"] == "0"
    assert stack.esblend("verify", index, "--json").returncode == 0


def test_a_text_of_several_passages_is_a_dead_letter_where_one_vector_is_kept(
    stack: Stack, make_index: Callable[..., str]
) -> None:
    index = make_index({"body": "A long sentence about whales. " * 100}, {"body": "short"})
    stack.attach(index, "body", vector={"layout": "flat"})
    status = stack.wait(index)
    assert (status["embedded"], status["dead_letters"]) == (1, 1)
    [letter] = stack.call("GET", "/_esblend/dead-letters", index=index)["dead_letters"]
    assert "one vector per document" in letter["error"]


@pytest.mark.parametrize("similarity", ["cosine", "max_inner_product", "l2_norm"])
@pytest.mark.parametrize("layout", ["passages", "flat"])
def test_other_similarities(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder, similarity: str, layout: str
) -> None:
    index = make_index(*DOCUMENTS)
    stack.attach(index, "title", "body", vector={"similarity": similarity, "layout": layout, "type": "hnsw"})
    stack.wait(index)
    form = Form(unit=similarity == "cosine")
    vectors, query = encoder.encode_documents(texts(), form), encoder.encode_query(QUESTION, form)
    expected = vectors @ query
    if similarity == "l2_norm":
        expected = 1 / (1 + ((vectors - query) ** 2).sum(axis=1))
    for blending in ("exact", "windowed"):
        answer = search(stack, index, query={"hybrid": {"query": QUESTION, "blending": blending}}, explain=True)
        assert raw_scores(answer) == pytest.approx(
            {str(n): score for n, score in enumerate(expected)}, rel=1e-3, abs=1e-4
        )
    verified = stack.esblend("verify", index, "--json")
    assert verified.returncode == 0, verified.stdout


def test_foreign_vectors_are_only_searched_or_kept_current(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder
) -> None:
    field = {"type": "dense_vector", "dims": 384, "similarity": "cosine"}
    vectors = encoder.encode_documents(texts())
    documents = [{**document, "vec": vector.tolist()} for document, vector in zip(DOCUMENTS, vectors, strict=True)]
    index = make_index(*documents, properties={"title": {"type": "text"}, "body": {"type": "text"}, "vec": field})
    stack.attach(index, "title", "body", adopt={"field": "vec"})
    status = stack.wait(index)
    assert (status["embedded"], status["coverage"]) == (3, 1.0)
    assert search(stack, index, query={"hybrid": {"query": QUESTION}})["hits"]["hits"][0]["_id"] == "0"
    assert "esblend" not in stack.es.get(index=index, id="0")["_source"]
    stack.call("DELETE", f"/_esblend/indices/{index}")
    stack.attach(index, "title", "body", adopt={"field": "vec", "keep_current": True})
    stack.wait(index)
    stack.es.update(index=index, id="1", doc={"title": "Dolphins", "body": "Swimming mammals."})
    stack.wait(index)
    vector = with_vectors(stack, index, "1")["vec"]
    np.testing.assert_allclose(vector, encoder.encode_documents(["Dolphins\nSwimming mammals."])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("adopt", "reason"), [("title", "no dense_vector"), ("narrow", "holds vectors of 3"), ("absent", "no dense_vector")]
)
def test_what_cannot_be_adopted_is_refused(
    stack: Stack, make_index: Callable[..., str], adopt: str, reason: str
) -> None:
    narrow = {"type": "dense_vector", "dims": 3}
    index = make_index(properties={"title": {"type": "text"}, "narrow": narrow})
    with pytest.raises(ApiError, match=reason):
        stack.attach(index, "title", adopt={"field": adopt})


def test_prompts_come_before_texts(stack: Stack, make_index: Callable[..., str], encoder: Encoder) -> None:
    index = make_index({"body": "Whales"})
    stack.attach(index, "body", prompts={"query": "query: ", "document": "passage: "})
    stack.wait(index)
    answer = search(stack, index, query={"hybrid": {"query": QUESTION, "alpha": 1, "normalizer": "raw_dot"}})
    expected = encoder.encode_documents(["passage: Whales"])[0] @ encoder.encode_query(f"query: {QUESTION}")
    assert answer["hits"]["hits"][0]["_score"] == pytest.approx(expected, abs=1e-5)


def test_few_documents_are_compared_one_by_one_and_many_are_not(stack: Stack, make_index: Callable[..., str]) -> None:
    texts = [{"body": f"text number {n}", "kind": "rare" if n < 5 else "common"} for n in range(1200)]
    index = make_index(*texts, properties={"body": {"type": "text"}, "kind": {"type": "keyword"}})
    stack.attach(index, "body")
    stack.wait(index, seconds=300)

    def plan(**options: Any) -> str:
        answer = search(stack, index, query={"hybrid": {"query": "seven", **options}}, profile=True)
        return str(answer["esblend"]["profile"]["plan"]["semantic"])

    assert plan() == "approximate kNN"
    assert plan(filter={"term": {"kind": "rare"}}).startswith("exact: 5 documents pass the filters")


@pytest.mark.parametrize("wish", ["fields", "meta"])
def test_a_mapping_that_asks_for_it_is_attached(stack: Stack, index_name: str, wish: str) -> None:
    text: dict[str, Any] = {"type": "text"}
    mapping: dict[str, Any] = {"properties": {"body": text}}
    if wish == "fields":
        text["meta"] = {"esblend": "minilm"}
    else:
        mapping["_meta"] = {"esblend": {"source_fields": ["body"], "vector": {"type": "hnsw"}}, "owner": "us"}
    stack.gateway.indices.create(index=index_name, mappings=mapping)
    stack.gateway.index(index=index_name, id="1", document={"body": "Whales"}, refresh=True)

    def attachment() -> Any:
        response = stack.gateway.options(ignore_status=404)
        return response.perform_request(
            "GET", f"/_esblend/indices/{index_name}", headers={"accept": "application/json"}
        )

    wait_for("attached", lambda: attachment().body.get("attachment"))
    assert stack.wait(index_name)["embedded"] == 1
    if wish == "meta":
        assert stack.es.indices.get_mapping(index=index_name)[index_name]["mappings"]["_meta"]["owner"] == "us"
    stack.es.indices.delete(index=index_name)


@pytest.fixture
def template(stack: Stack, index_name: str) -> Iterator[str]:
    name = f"kind-{index_name}"
    mapping = {"properties": {"body": {"type": "text"}}}
    stack.es.cluster.put_component_template(name=name, template={"mappings": mapping})
    stack.es.indices.put_index_template(name=name, index_patterns=[f"{name}-*"], composed_of=[name], priority=500)
    yield name
    stack.es.indices.delete(index=f"{name}-1", ignore_unavailable=True)
    stack.es.indices.delete_index_template(name=name)
    stack.es.cluster.delete_component_template(name=name)


@pytest.mark.parametrize("kind", ["templates", "component-templates"])
def test_an_attached_template_makes_attached_indices(stack: Stack, template: str, kind: str) -> None:
    path = f"/_esblend/{kind}/{template}"
    dry = stack.call("PUT", path, {"source_fields": ["body"]}, dry_run="true")
    assert (dry["acknowledged"], list(dry["mapping_additions"])) == (False, ["esblend"])
    first = stack.call("PUT", path, {"source_fields": ["body"]})
    assert stack.call("PUT", path, {"source_fields": ["body"]}) == first
    assert stack.call("GET", path)["attachment"] == first["attachment"]
    with pytest.raises(ApiError, match="already attached"):
        stack.call("PUT", path, {"source_fields": ["body"], "vector": {"type": "hnsw"}})
    stack.es.index(index=f"{template}-1", id="1", document={"body": "Whales"}, refresh=True)
    assert stack.wait(f"{template}-1")["embedded"] == 1
    stack.call("DELETE", path)
    with pytest.raises(ApiError, match="not attached"):
        stack.call("GET", path)
    with pytest.raises(ApiError, match=r"no field \[nothing\]"):
        stack.call("PUT", path, {"source_fields": ["nothing"]})


def test_capabilities_are_asked(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(**{"index.mapping.total_fields.limit": 3})
    with pytest.raises(ApiError, match=r"index.mapping.total_fields.limit"):
        stack.attach(index, "body")
    stack.es.indices.put_settings(index=index, settings={"index.mapping.total_fields.limit": 1000})
    stack.attach(index, "body")


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ({"_source": {"enabled": False}}, "does not store"),
        ({"_source": {"excludes": ["secret"]}}, "stores only a part of"),
        ({"dynamic": "strict"}, None),
    ],
)
def test_source_and_strict_mappings(stack: Stack, index_name: str, mapping: dict[str, Any], reason: str | None) -> None:
    stack.es.indices.create(index=index_name, mappings={"properties": {"body": {"type": "text"}}, **mapping})
    try:
        if reason is not None:
            with pytest.raises(ApiError, match=reason):
                stack.attach(index_name, "body")
            return
        stack.es.index(index=index_name, id="1", document={"body": "Whales"}, refresh=True)
        stack.attach(index_name, "body")
        assert stack.wait(index_name)["embedded"] == 1
    finally:
        stack.es.indices.delete(index=index_name)


def test_the_command_line_says_how_vectors_are_kept(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index()
    options = (
        "--vector-type", "bbq_hnsw", "--m", "8", "--ef-construction", "60", "--oversample", "2", "--element-type", "bfloat16"
    )  # fmt: skip
    planned = stack.esblend("attach", index, "--fields", "body", *options, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    answer = json.loads(planned.stdout)
    field = answer["mapping_additions"]["esblend"]["properties"]["g1"]["properties"]["passages"]["properties"]["vector"]
    assert field["index_options"] == {"type": "bbq_hnsw", "m": 8, "ef_construction": 60}
    assert field["element_type"] == "bfloat16"
    assert answer["attachment"]["generations"]["g1"]["vector"]["oversample"] == 2


@pytest.mark.parametrize("guard", [False, True])
def test_a_synthetic_source(stack: Stack, make_index: Callable[..., str], guard: bool) -> None:
    """It shows a list of one passage as the one, and sorts keywords; vectors outlive other writers' partial updates."""
    properties = {"body": {"type": "text"}, "tags": {"type": "keyword"}}
    index = make_index(
        {"body": "Whales sing.", "tags": ["b", "a"]}, {"body": "Whales sing in the sea. " * 100},
        properties=properties, **{"index.mapping.source.mode": "synthetic"},
    )  # fmt: skip
    stack.attach(index, "body", guard=guard)
    assert stack.wait(index)["embedded"] == 2
    for id_ in ("0", "1"):
        stack.es.update(index=index, id=id_, doc={"tags": ["d", "c"]}, refresh=True)
    assert stack.wait(index)["embedded"] == 2
    stack.es.update(index=index, id="0", doc={"body": "Ships sail."}, refresh=True)
    assert stack.wait(index)["embedded"] == 2
    hits = stack.gateway.search(index=index, query={"hybrid": {"query": "vessels", "inner_hits": {}}})["hits"]["hits"]
    assert [hit["_id"] for hit in hits] == ["0", "1"]
    assert stack.esblend("verify", index, "--json").returncode == 0


def test_advice_from_the_indexs_own_numbers(stack: Stack, make_index: Callable[..., str]) -> None:
    import json

    index = make_index(*({"body": f"text number {n}"} for n in range(400)))
    stack.attach(index, "body")
    stack.wait(index, seconds=200)
    done = stack.esblend("advise", index, "--json")
    advice = json.loads(done.stdout)
    assert advice["passages"] == 400
    by_type = {(option["type"], option["oversample"]): option for option in advice["options"]}
    # So small an index saves too little memory for a migration; only a poor recall of the present type is worth one.
    is_poor = by_type["int8_hnsw", None]["recall"] < 0.95
    assert advice["recommended"]["type"].endswith("flat") if is_poor else advice["recommended"]["type"] == "int8_hnsw"
    assert by_type["hnsw", None]["ram_bytes"] == 400 * (4 * 384 + 64)
    assert by_type["hnsw", None]["recall"] == 1.0
    assert "Recommended" in stack.esblend("advise", index).stdout


def test_fields_apart_are_legs_with_weights_of_their_own(
    stack: Stack, make_index: Callable[..., str], encoder: Encoder
) -> None:
    index = make_index(*DOCUMENTS, {"body": "no title here"})
    stack.attach(index, "title", "body", passages={"fields": "apart"})
    stack.wait(index)
    passages = stack.es.get(index=index, id="0")["_source"]["esblend"]["g1"]["passages"]
    whole = f"{DOCUMENTS[0]['title']}\n{DOCUMENTS[0]['body']}"
    assert {passage["field"]: whole[passage["start"] : passage["end"]] for passage in passages} == DOCUMENTS[0]
    weights = {"lexical": 0, "title": 0.25, "body": 1}
    answer = search(
        stack, index, query={"hybrid": {"query": QUESTION, "weights": weights, "normalizer": "raw_dot"}}, explain=True
    )
    query = encoder.encode_query(QUESTION)
    dots = {
        field: encoder.encode_documents([document[field] for document in DOCUMENTS]) @ query
        for field in ("title", "body")
    }
    scores = {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}
    expected = {str(n): 0.25 * dots["title"][n] + dots["body"][n] for n in range(3)}
    expected["3"] = float(encoder.encode_documents(["no title here"])[0] @ query)
    assert scores == pytest.approx(expected, abs=1e-5)
    legs = [leg["leg"] for leg in answer["esblend"]["explanations"][0]["legs"]]
    assert legs == ["lexical", "semantic title", "semantic body"]
    joint = search(stack, index, query={"hybrid": {"query": QUESTION, "alpha": 1, "normalizer": "raw_dot"}})
    best = max(dots["title"][0], dots["body"][0])
    assert joint["hits"]["hits"][0]["_score"] == pytest.approx(best, abs=1e-5)
    assert stack.esblend("verify", index, "--json").returncode == 0
    stack.call("PUT", f"/_esblend/indices/{index}/defaults", {"weights": weights, "normalizer": "raw_dot"})
    again = search(stack, index, query={"hybrid": {"query": QUESTION}})
    assert again["hits"]["hits"][0]["_score"] == pytest.approx(scores["0"], abs=1e-6)


@pytest.mark.parametrize("weights", [{"title": 1}, {"semantic": 1, "body": 1}, {"nothing": 1}])
def test_weights_of_fields_need_fields_apart(
    stack: Stack, make_index: Callable[..., str], weights: dict[str, float]
) -> None:
    index = make_index(*DOCUMENTS)
    stack.attach(index, "title", "body", passages={"fields": "apart"} if "semantic" in weights else {})
    with pytest.raises(ApiError, match=r"passages\.fields: apart"):
        search(stack, index, query={"hybrid": {"query": QUESTION, "weights": weights}})


def test_a_detached_index_is_copied_without_what_was_added(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(*DOCUMENTS)
    stack.attach(index, "title", "body")
    stack.wait(index)
    done = stack.esblend("detach", index, "--reindex", f"{index}-plain", "--json")
    assert done.returncode == 0, done.stderr
    try:
        assert (
            "esblend"
            not in stack.es.indices.get_mapping(index=f"{index}-plain")[f"{index}-plain"]["mappings"]["properties"]
        )
        hits = stack.es.search(index=f"{index}-plain")["hits"]["hits"]
        assert sorted((hit["_source"] for hit in hits), key=str) == sorted(DOCUMENTS, key=str)
    finally:
        stack.es.indices.delete(index=f"{index}-plain")


@pytest.mark.parametrize("mode", ["logsdb", "sorted"])
def test_sorted_indices_take_one_vector_a_document(stack: Stack, index_name: str, mode: str) -> None:
    settings = {"index.mode": "logsdb"} if mode == "logsdb" else {"index.sort.field": "@timestamp"}
    properties = {"body": {"type": "text"}, "@timestamp": {"type": "date"}}
    stack.es.indices.create(index=index_name, mappings={"properties": properties}, settings=settings)
    try:
        stack.es.index(
            index=index_name, document={"@timestamp": "2026-01-01T00:00:00Z", "body": "Whales"}, refresh=True
        )
        with pytest.raises(ApiError, match=r"vector\.layout: flat"):
            stack.attach(index_name, "body")
        stack.attach(index_name, "body", vector={"layout": "flat"})
        assert stack.wait(index_name)["embedded"] == 1
        assert search(stack, index_name, query={"hybrid": {"query": QUESTION}})["hits"]["hits"][0]["_score"] > 0
    finally:
        stack.es.indices.delete(index=index_name)
