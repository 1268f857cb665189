"""Forms of a retriever search beside the plain tree: `query` and `fields`, the form before 8.16, `source`, other formats, and
retrievers that Elasticsearch executes."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from elasticsearch import BadRequestError, Elasticsearch

from tests.conftest import Stack
from tests.real.gateways import gateway_with

PLAIN, PASSAGES, FLAT = "forms-plain", "forms-passages", "forms-flat"
TEXTS = [
    "Whales sing in the sea.",
    "Bread needs flour and yeast.",
    "A kitten drinks milk.",
    "The sea is deep and blue.",
]
X, Y = {"match": {"b": "x"}}, {"match": {"b": "y"}}
LEG_X, LEG_Y = {"standard": {"query": X}}, {"standard": {"query": Y}}


@pytest.fixture(scope="module", autouse=True)
def _indices(stack: Stack) -> Iterator[None]:
    properties = {
        "b": {"type": "text"}, "title": {"type": "text"}, "n": {"type": "integer"},
        "v": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm", "index": True},
        "parts": {"type": "nested", "properties": {"p": {"type": "keyword"}}},
    }  # fmt: skip
    stack.es.indices.create(
        index=PLAIN, mappings={"properties": properties}, settings={"number_of_shards": 2, "number_of_replicas": 0}
    )
    operations: list[dict[str, Any]] = []
    for number in range(40):
        document = {"b": " ".join(["x"] * (number % 4) + ["y"] * (number % 3)), "n": number, "title": "deep sea"}
        if number % 5:
            document["v"] = [number / 10 - 2, (number * 7 % 40) / 20 - 1]
        operations += [{"index": {"_id": str(number)}}, document]
    assert not stack.es.bulk(index=PLAIN, operations=operations, refresh=True)["errors"]
    for index, options in ((PASSAGES, {}), (FLAT, {"vector": {"layout": "flat"}})):
        stack.es.indices.create(index=index, mappings={"properties": {"title": {"type": "text"}}})
        for number, text in enumerate(TEXTS):
            stack.es.index(index=index, id=f"{index[6]}{number}", document={"title": text}, refresh=True)
        stack.attach(index, "title", **options)
        stack.wait(index)
    yield
    stack.es.indices.delete(index=f"{PLAIN},{PASSAGES},{FLAT}")


def search(client: Elasticsearch, index: str = PLAIN, **body: Any) -> dict[str, Any]:
    return dict(client.search(index=index, body=body).body)


def found(response: dict[str, Any]) -> list[tuple[str, float]]:
    return [(hit["_id"], hit["_score"]) for hit in response["hits"]["hits"]]


def ids(response: dict[str, Any]) -> list[str]:
    return [hit["_id"] for hit in response["hits"]["hits"]]


def diversify(inner: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"diversify": {"type": "mmr", "field": "v", "lambda": 0.4, "size": 5, "retriever": inner, **options}}


def rescorer(inner: dict[str, Any], window: int = 12) -> dict[str, Any]:
    return {"rescorer": {"retriever": inner, "rescore": {"window_size": window, "query": {"rescore_query": Y}}}}


def knn(**options: Any) -> dict[str, Any]:
    return {"knn": {"field": "v", "query_vector": [1.0, 0.5], "k": 8, "num_candidates": 20, **options}}


# --- left to Elasticsearch


@pytest.mark.parametrize(
    "tree",
    [
        diversify(LEG_X), diversify(LEG_X, query_vector=[1.0, -0.5]), diversify(knn(), query_vector=[0.0, 1.0]), rescorer(LEG_X),
        diversify(rescorer(LEG_X)), rescorer(diversify(LEG_X, rank_window_size=12)),
        diversify(LEG_X, query_vector_builder={"lookup": {"index": PLAIN, "id": "3", "path": "v"}}),
        {"knn": {"field": "v", "k": 5, "num_candidates": 20, "query_vector_builder": {
            "lookup": {"index": PLAIN, "id": "3", "path": "v"}}}},
    ],
)  # fmt: skip
def test_what_the_server_executes_itself_is_answered_by_it(stack: Stack, tree: dict[str, Any]) -> None:
    for more in ({}, {"size": 3, "from": 1}, {"explain": True, "size": 2}):
        through, direct = (search(client, retriever=tree, **more) for client in (stack.gateway, stack.es))
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
    assert dict(found(ours)) == pytest.approx(dict(found(theirs)))
    assert ours["hits"]["total"] == theirs["hits"]["total"]


@pytest.mark.parametrize(
    "options",
    [
        {"type": "other"}, {"lambda": 2}, {"lambda": None}, {"size": 0}, {"size": 11},
        {"query_vector": [1, 1], "query_vector_builder": {"lookup": {"index": PLAIN, "id": "3", "path": "v"}}},
    ],
)  # fmt: skip
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
        own = found(search(stack.es, retriever=inner, size=10))
        fused = search(stack.gateway, retriever={"rrf": {"retrievers": [inner, LEG_Y], "rank_window_size": 10}})
        second = ids(search(stack.es, query=Y, size=10))
        expected: dict[str, float] = {}
        for ranked in ([id_ for id_, _ in own], second):
            for rank, id_ in enumerate(ranked, 1):
                expected[id_] = expected.get(id_, 0) + 1 / (60 + rank)
        assert dict(found(fused)) == pytest.approx({id_: expected[id_] for id_ in ids(fused)})
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


# --- query and fields


@pytest.mark.parametrize("kind", ["rrf", "linear"])
def test_query_and_fields_are_lexical_where_nothing_is_attached(stack: Stack, kind: str) -> None:
    options = {"normalizer": "minmax"} if kind == "linear" else {}
    for fields in (["b"], ["b^2", "title"], ["t*", "b"], ["*"], None):
        given = {} if fields is None else {"fields": fields}
        response = search(stack.gateway, retriever={kind: {"query": "x", **given, **options}})
        direct = search(stack.es, query={"multi_match": {"query": "x", "type": "most_fields", **given}})
        assert ids(response) == ids(direct)
        assert response["hits"]["total"] == direct["hits"]["total"]
        assert "degraded" not in response.get("esblend", {})


@pytest.mark.parametrize("tree", [
    {"rrf": {"query": "x", "fields": ["b"]}}, {"rrf": {"retrievers": [LEG_X, LEG_Y]}},
    {"linear": {"query": "x", "fields": ["b"], "normalizer": "minmax"}},
])  # fmt: skip
def test_a_pattern_that_matches_no_index_finds_nothing(stack: Stack, tree: dict[str, Any]) -> None:
    response = search(stack.gateway, "absent-*", retriever=tree)
    assert response["hits"]["hits"] == []
    assert response["hits"]["total"]["value"] == 0


def test_query_and_fields_over_a_list_with_an_unattached_index(stack: Stack) -> None:
    tree = {"rrf": {"query": "blue ocean", "fields": ["title", "esblend"], "rank_window_size": 50}}
    response = search(stack.gateway, f"{PASSAGES},{PLAIN}", retriever=tree)
    assert response["_shards"]["failed"] == 0
    indices = {hit["_index"] for hit in response["hits"]["hits"]}
    assert PASSAGES in indices
    deep = {"rrf": {"query": "deep", "fields": ["title", "esblend"], "rank_window_size": 50}}
    assert {hit["_index"] for hit in search(stack.gateway, f"{PASSAGES},{PLAIN}", retriever=deep)["hits"]["hits"]} == {
        PASSAGES,
        PLAIN,
    }


def test_query_and_fields_over_several_attachments(stack: Stack) -> None:
    """Each index has legs of its own, as Elasticsearch builds them."""
    tree = {"rrf": {"query": "ocean", "fields": ["title", "esblend"], "rank_window_size": 20}}
    response = search(stack.gateway, f"{PASSAGES},{FLAT}", retriever=tree, explain=True)
    assert response["_shards"]["failed"] == 0
    assert {hit["_index"] for hit in response["hits"]["hits"]} == {PASSAGES, FLAT}
    legs = [leg["leg"] for leg in response["esblend"]["explanations"][0]["legs"]]
    assert legs == ["lexical", "semantic"] * 2
    for hit in response["esblend"]["explanations"]:
        ranked = [position for position, leg in enumerate(hit["legs"]) if "rank" in leg]
        assert set(ranked) <= ({0, 1} if hit["_index"] == PASSAGES else {2, 3}) or set(ranked) <= (
            {2, 3} if hit["_index"] == PASSAGES else {0, 1}
        )


def test_a_pattern_includes_the_semantic_field(stack: Stack) -> None:
    body = {"rrf": {"query": "ocean", "rank_window_size": 20}}
    named = search(stack.gateway, PASSAGES, retriever={"rrf": {**body["rrf"], "fields": ["title", "esblend"]}})
    pattern = search(stack.gateway, PASSAGES, retriever={"rrf": {**body["rrf"], "fields": ["*"]}})
    assert len(named["hits"]["hits"]) == len(TEXTS)
    assert found(pattern) == found(named)


@pytest.mark.parametrize(("normalizer", "changes"), [("minmax", False), ("none", True)])
def test_the_boost_of_the_semantic_field_counts_where_nothing_is_normalised(
    stack: Stack, normalizer: str, changes: bool
) -> None:
    plain, boosted = (
        search(
            stack.gateway,
            PASSAGES,
            retriever={"linear": {"query": "ocean", "fields": ["title", field], "normalizer": normalizer}},
        )
        for field in ("esblend", "esblend^3")
    )
    assert (found(plain) != found(boosted)) == changes


# --- several attachments


def test_the_legs_of_several_attachments_go_to_their_own_indices(stack: Stack) -> None:
    response = search(stack.gateway, f"{PASSAGES},{FLAT}", query={"hybrid": {"query": "ocean"}}, profile=True, size=20)
    assert response["_shards"]["failed"] == 0
    assert "degraded" not in response["esblend"]
    assert len(response["hits"]["hits"]) == 2 * len(TEXTS)
    legs = [step for step in response["esblend"]["profile"]["steps"] if step["step"] == "legs"]
    assert len(legs) == 2
    pit = stack.gateway.open_point_in_time(index=f"{PASSAGES},{FLAT}", keep_alive="1m")["id"]
    through_pit = dict(
        stack.gateway.search(body={"query": {"hybrid": {"query": "ocean"}}, "pit": {"id": pit}, "size": 20}).body
    )
    assert through_pit["_shards"]["failed"] == 0
    assert len(through_pit["hits"]["hits"]) == 2 * len(TEXTS)


def test_models_with_vectors_of_other_lengths_are_searched_together(
    stack: Stack, make_index: Callable[..., str]
) -> None:
    """A vector of one model on the shards of the other would be an error of these shards."""
    index = make_index(*({"title": text} for text in TEXTS))
    stack.attach(index, "title", model="hashing:64")
    stack.wait(index)
    pit = stack.gateway.open_point_in_time(index=f"{PASSAGES},{index}", keep_alive="1m")["id"]
    for query in ({"hybrid": {"query": "sea"}}, {"hybrid": {"query": "sea", "blending": "windowed"}}):
        for body in ({"query": query, "size": 20}, {"query": query, "size": 20, "pit": {"id": pit}}):
            where = {} if "pit" in body else {"index": f"{PASSAGES},{index}"}
            response = dict(stack.gateway.search(**where, body=body).body)
            assert response["_shards"]["failed"] == 0
            assert "esblend" not in response
            assert len(response["hits"]["hits"]) == 2 * len(TEXTS)
    tree = {"rrf": {"query": "sea", "fields": ["title", "esblend"], "rank_window_size": 20}}
    fused = search(stack.gateway, f"{PASSAGES},{index}", retriever=tree)
    assert fused["_shards"]["failed"] == 0
    assert len(fused["hits"]["hits"]) == 2 * len(TEXTS)


# --- the form before 8.16


def test_query_and_knn_with_rank_is_the_tree_it_stands_for(stack: Stack) -> None:
    section = {
        "field": "v",
        "query_vector": [1.0, 0.5],
        "k": 8,
        "num_candidates": 20,
        "filter": {"range": {"n": {"gte": 5}}},
    }
    tree = {"rrf": {"retrievers": [LEG_X, {"knn": section}], "rank_constant": 20, "rank_window_size": 15}}
    aggregations = {"n": {"max": {"field": "n"}}}
    expected = search(stack.gateway, retriever=tree, size=10, aggs=aggregations)
    for window in ("rank_window_size", "window_size"):
        rank = {"rrf": {"rank_constant": 20, window: 15}}
        response = search(stack.gateway, query=X, knn=section, rank=rank, aggs=aggregations)
        assert found(response) == found(expected)
        assert response["hits"]["total"] == expected["hits"]["total"]
        assert response["aggregations"] == expected["aggregations"]
    assert found(search(stack.gateway, query=X, knn=[section], rank={"rrf": {}}, size=5)) == found(
        search(stack.gateway, retriever={"rrf": {"retrievers": [LEG_X, {"knn": section}]}}, size=5)
    )


def test_sub_searches_with_rank(stack: Stack) -> None:
    response = search(
        stack.gateway, sub_searches=[{"query": X}, {"query": Y}], rank={"rrf": {"rank_window_size": 20}}, size=20
    )
    tree = {"rrf": {"retrievers": [LEG_X, LEG_Y], "rank_window_size": 20}}
    assert found(response) == found(search(stack.gateway, retriever=tree, size=20))


def test_text_in_a_knn_section_with_rank(stack: Stack) -> None:
    builder = {"text_embedding": {"model_text": "ocean"}}
    section = {"field": "esblend", "k": 4, "num_candidates": 20, "query_vector_builder": builder}
    response = search(stack.gateway, PASSAGES, query={"match": {"title": "bread"}}, knn=section, rank={"rrf": {}})
    assert len(response["hits"]["hits"]) == len(TEXTS)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"query": X, "rank": {"rrf": {}}}, "requires a minimum of [2] result sets"),
        ({"sub_searches": [{"query": X}, {"query": Y}], "rank": {"rrf": {}}, "size": 11}, "[rank] requires [rank_window_size: 10]"),
        ({"sub_searches": [{"query": X}, {"query": Y}], "query": X, "rank": {"rrf": {}}}, "both [query] and [sub_searches]"),
        ({"sub_searches": [{"query": X}, {"query": Y}], "rank": {"rrf": {"x": 1}}}, "unknown field [x]"),
        ({"sub_searches": [{"query": X}, {"query": Y}], "sort": ["n"], "rank": {"rrf": {}}}, "cannot be used with [sort]"),
        ({"query": X, "knn": {"field": "v", "inner_hits": {}}, "rank": {"rrf": {}}}, "[knn.inner_hits]"),
    ],
)  # fmt: skip
def test_errors_of_the_form_with_rank(stack: Stack, body: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        search(stack.gateway, **body)
    assert reason in str(caught.value.body)


# --- source and other formats

TREE = {"rrf": {"retrievers": [LEG_X, LEG_Y]}}


def test_a_search_in_the_url_is_answered(stack: Stack) -> None:
    params = {"source": json.dumps({"retriever": TREE, "size": 3}), "source_content_type": "application/json"}
    headers = {"accept": "application/json"}
    response = stack.gateway.perform_request("GET", f"/{PLAIN}/_search", params=params, headers=headers)
    assert found(dict(response.body)) == found(search(stack.gateway, retriever=TREE, size=3))
    plain = {**params, "source": json.dumps({"query": X, "size": 2})}
    bodies = [dict(client.perform_request("GET", f"/{PLAIN}/_search", params=plain, headers=headers).body)
              for client in (stack.gateway, stack.es)]  # fmt: skip
    assert found(bodies[0]) == found(bodies[1])


def _cbor(value: Any) -> bytes:
    if isinstance(value, str):
        raw = value.encode()
        return (bytes([0x60 + len(raw)]) if len(raw) < 24 else bytes([0x78, len(raw)])) + raw
    if isinstance(value, int):
        return bytes([value])
    if isinstance(value, list):
        return bytes([0x80 + len(value)]) + b"".join(map(_cbor, value))
    return bytes([0xA0 + len(value)]) + b"".join(_cbor(key) + _cbor(inner) for key, inner in value.items())


def _smile(value: Any, *, key: bool = False) -> bytes:
    if isinstance(value, str):
        raw = value.encode()
        return bytes([(0x80 if key else 0x40) + len(raw) - 1]) + raw
    if isinstance(value, int):
        return bytes([0xC0 + 2 * value])
    if isinstance(value, list):
        return b"\xf8" + b"".join(map(_smile, value)) + b"\xf9"
    return b"\xfa" + b"".join(_smile(name, key=True) + _smile(inner) for name, inner in value.items()) + b"\xfb"


YAML = "retriever:\n  rrf:\n    retrievers:\n      - standard:\n          query: {match: {b: x}}\n"
FORMATS: dict[str, tuple[bytes, bytes, bytes]] = {
    "application/yaml": (YAML.encode(), b"query:\n  hybrid:\n    query: x\n", b"query: {match: {b: 'x rrf: linear'}}\n"),
    "application/cbor": tuple(_cbor(body) for body in (
        {"retriever": TREE}, {"query": {"hybrid": {"query": "x"}}}, {"query": {"match": {"b": "x rrf linear"}}})),  # type: ignore[dict-item]
    "application/smile": tuple(b":)\n\x00" + _smile(body) for body in (
        {"retriever": {"rrf": {"retrievers": [{"standard": {"query": {"match": {"b": "x"}}}}]}}},
        {"query": {"hybrid": {"query": "x"}}}, {"query": {"match": {"b": "x rrf linear"}}})),  # type: ignore[dict-item]
}  # fmt: skip


@pytest.mark.parametrize("kind", list(FORMATS))
def test_fused_searches_in_other_formats_are_refused_by_name_and_plain_ones_pass(stack: Stack, kind: str) -> None:
    *fused, plain = FORMATS[kind]

    def send(body: bytes) -> dict[str, Any]:
        headers = {"content-type": kind, "accept": "application/json"}
        request = Request(f"{stack.described['gateway']}/{PLAIN}/_search", data=body, headers=headers)
        with urlopen(request, timeout=60) as response:
            return dict(json.load(response))

    for body in fused:
        with pytest.raises(HTTPError) as caught:
            send(body)
        with caught.value as response:
            assert response.status == 400
            assert "send a fused search as JSON" in json.load(response)["error"]["reason"]
    assert found(send(plain)) == found(search(stack.es, query={"match": {"b": "x rrf linear"}}))


# --- pinned


@pytest.mark.parametrize(
    ("pinned", "reason"),
    [
        ({"ids": ["1"], "retriever": {"standard": {}}}, "Underlying query cannot be null for pinned retriever"),
        ({"ids": ["1", "1"], "retriever": LEG_X}, "duplicate id found in list: 1"),
        ({"ids": ["1"], "retriever": {"standard": {"query": X, "sort": ["n"]}}}, "only supports sorting by score"),
        ({"ids": ["1"], "docs": [{"_id": "1"}], "retriever": LEG_X}, "cannot be specified at the same time"),
        ({"ids": [], "retriever": LEG_X}, "must be provided and non-empty"),
    ],
)  # fmt: skip
def test_pinned_refuses_what_elasticsearch_refuses(stack: Stack, pinned: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        search(stack.gateway, retriever={"pinned": pinned})
    assert reason in caught.value.body["error"]["reason"]


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
