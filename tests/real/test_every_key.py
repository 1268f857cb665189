"""Every key that the gateway accepts has an effect, in every form, or is refused by name.

The keys come from the declarations of `query.language`. A new key fails a test until it has a probe here.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from elasticsearch import ApiError

from esblend.blend_vocabulary import NORMALIZERS
from query.language import boost_by, hybrid, opensearch, opensearch_pipeline, search_body, semantic, url_parameters
from tests.conftest import Stack

INDEX = "test-every-key"
Body = dict[str, Any]
TEXT = "how to feed a young dog"
TERM = {"term": {"kind": "b"}}
HYBRID: Body = {"query": TEXT}
MATCH = {"match": {"body": "dog"}}
NAMED = {"term": {"kind": {"value": "b", "_name": "named"}}}
NEURAL: Body = {"query_text": TEXT}
QUERIES = [MATCH, {"neural": {"body": NEURAL}}]
NORMALIZED: Body = {"normalization": {"technique": "min_max"}, "combination": {"technique": "arithmetic_mean"}}
RANKED: Body = {"combination": {"technique": "rrf"}}
TEXTS = [
    ("car", "Repairing an automobile", "Change the oil and the brake pads of your car.", "a", 2001),
    ("cat", "Feline care", "How to feed and groom a kitten. Cats feed themselves.", "b", 2002),
    ("dog", "Puppies", "Training a young dog takes patience.", "b", 2003),
    ("tax", "Income tax", "How to file a return and what to deduct.", "a", 2004),
    ("sea", "Oceans", "Currents carry warm water to the north.", "c", 2005),
    ("jam", "Traffic jam", "Vehicles queue on the motorway; drivers wait.", "a", 2006),
]


@pytest.fixture(scope="module", autouse=True)
def _index(stack: Stack) -> Iterator[None]:
    properties = {
        "title": {"type": "text", "analyzer": "english", "store": True}, "body": {"type": "text", "analyzer": "english"},
        "kind": {"type": "keyword"}, "year": {"type": "integer"},
    }  # fmt: skip
    stack.es.indices.create(
        index=INDEX, mappings={"properties": properties}, settings={"number_of_shards": 2, "number_of_replicas": 0}
    )
    for id_, title, body, kind, year in TEXTS:
        document = {"title": title, "body": body, "kind": kind, "year": year}
        stack.es.index(index=INDEX, id=id_, document=document, routing="r" if kind == "b" else None)
    stack.es.indices.refresh(index=INDEX)
    stack.attach(
        INDEX, "title", "body", passages={"max_tokens": 16, "overlap_tokens": 0},
        defaults={"profiles": {"words": {"alpha": 0}}},
    )  # fmt: skip
    stack.wait(INDEX)
    yield
    stack.es.indices.delete(index=INDEX)


@dataclass(frozen=True)
class Group:
    """Keys of one object of the language, and requests that use them."""

    keys: frozenset[str]
    insert: Callable[[str, Any], Body]
    """A search body with a key and its value; with the key "" the body without any of the keys."""
    probes: dict[str, list[Any]]
    without_effect: dict[str, str] = field(default_factory=dict)
    """Keys that change no response, with the reason."""


def in_hybrid(key: str, value: Any) -> Body:
    return {"query": {"hybrid": {**HYBRID, **({key: value} if key else {})}}}


def in_options(options: str, base: Body) -> Callable[[str, Any], Body]:
    def insert(key: str, value: Any) -> Body:
        return in_hybrid(options, {**base, **({key: value} if key else {})})

    return insert


def in_semantic(key: str, value: Any) -> Body:
    return {"query": {"bool": {"must": [{"semantic": {"query": TEXT, **({key: value} if key else {})}}]}}}


def in_neural(key: str, value: Any) -> Body:
    return {"query": {"neural": {"body": {**NEURAL, **({key: value} if key else {})}}}}


def in_queries(key: str, value: Any) -> Body:
    return {"query": {"hybrid": {"queries": copy.deepcopy(QUERIES), **({key: value} if key else {})}}}


def in_neural_leg(key: str, value: Any) -> Body:
    leg = {"neural": {"body": {**NEURAL, **({key: value} if key else {})}}}
    return {"query": {"hybrid": {"queries": [copy.deepcopy(MATCH), leg]}}}


def in_pipeline(key: str, value: Any) -> Body:
    pipeline = {"phase_results_processors": [{"normalization-processor": NORMALIZED}], **({key: value} if key else {})}
    return {**in_queries("", None), "search_pipeline": pipeline}


def in_processor(name: str, base: Body) -> Callable[[str, Any], Body]:
    def insert(key: str, value: Any) -> Body:
        return in_pipeline("phase_results_processors", [{name: {**base, **({key: value} if key else {})}}])

    return insert


def in_combination(name: str, base: Body) -> Callable[[str, Any], Body]:
    def insert(key: str, value: Any) -> Body:
        combination = {**base["combination"], **({key: value} if key else {})}
        return in_pipeline("phase_results_processors", [{name: {**base, "combination": combination}}])

    return insert


def in_filter_query(key: str, value: Any) -> Body:
    processor = {"query": {"match_all": {}}, **({key: value} if key else {})}
    return in_pipeline("request_processors", [{"filter_query": processor}])


def beside_hybrid(key: str, value: Any) -> Body:
    return {**in_hybrid("", None), **({key: value} if key else {})}


LABELS = dict.fromkeys(("tag", "description", "ignore_failure"), "describes a processor")
HIGHLIGHT: Body = {"fields": {"body": {}}}
SEARCH_KEYS = frozenset((
    *search_body.PAGE_OPTIONS, *search_body.COMMON_OPTIONS, *search_body.OTHER_OPTIONS, *search_body.AS_CLAUSE_KEYS,
))  # fmt: skip
GROUPS = {
    "hybrid": Group(hybrid.HYBRID_KEYS, in_hybrid, {
        "query": ["brake", ["brake", "oil"]],
        "fields": [["title"], ["title*"], ["*^2"], ["body^3", "title"], ["kind"], ["b?dy"]],
        "filter": [TERM, [TERM], [TERM, {"term": {"year": 2003}}], NAMED],
        "filters": [{"lexical": TERM}, {"semantic": TERM}, {"lexical": [TERM], "semantic": [TERM]}, {"lexical": NAMED}],
        "alpha": [0, 1, 0.3, "0.3"],
        "weights": [{"lexical": 2, "semantic": 0}, {"semantic": 3}, {"lexical": "2", "semantic": "1"}],
        "fusion": ["rrf"], "normalizer": [name for name in NORMALIZERS if name != "calibrated"],
        "combination": ["geometric_mean", "harmonic_mean"],
        "rank_window_size": [5], "blending": ["other"], "min_score": [0.2, "0.2"], "autocut": [1, "1"],
        "inner_hits": [True, {}, {"size": 2}], "rerank": [True, {"model": "other"}], "generation": ["g9"],
        "rank_constant": [-1], "profile": ["words", "other"], "lexical": [MATCH, {"bool": {"must": [MATCH], "filter": [NAMED]}}],
        "boost_by": [{"field": "year", "pivot": 2000}, [{"field": "year", "origin": 2001, "scale": 1}]],
        "operator": ["and", "AND"], "minimum_should_match": ["100%", 3], "fuzziness": ["AUTO", 2], "analyzer": ["keyword"],
        "type": ["phrase", "best_fields"], "tie_breaker": [0.0, "0.5"],
        "interleave": [{"experiment": "keys", "a": {"alpha": 0}, "b": {"alpha": 1}}],
    }),
    "hybrid.inner_hits": Group(semantic.INNER_HITS_KEYS, in_options("inner_hits", {}), {
        "size": [2, "2"], "from": [1], "name": ["near"],
    }),
    "hybrid.rerank": Group(hybrid.RERANK_KEYS, in_options("rerank", {}), {}, {
        "rank_window_size": "needs a cross-encoder: test_reranking", "model": "needs a cross-encoder: test_reranking",
    }),
    "hybrid.boost_by": Group(boost_by.BOOST_KEYS, in_options("boost_by", {"field": "year", "origin": 2001, "scale": 2}), {
        "field": ["absent"], "weight": [0.7, "0.7"], "pivot": [3], "origin": [2003], "scale": [1], "offset": [1], "decay": [0.2],
    }),
    "semantic": Group(semantic.SEMANTIC_KEYS, in_semantic, {
        "query": ["brake"], "field": ["absent"], "k": [1, "1"], "filter": [TERM, [TERM]], "min_score": [0.6, "0.6"],
        "inner_hits": [True, {}, {"size": 2}], "boost": [2], "_name": ["near"],
    }),
    "neural": Group(opensearch.NEURAL_KEYS, in_neural, {
        "query_text": ["brake"], "k": [1, "1"], "filter": [TERM, [TERM]], "min_score": [0.6], "boost": [2], "_name": ["near"],
    }, {"model_id": "the attachment's model embeds the text"}),
    "a neural leg": Group(opensearch.NEURAL_LEG_KEYS, in_neural_leg, {
        "query_text": ["brake"], "k": [1, "1"], "filter": [TERM, [TERM]], "boost": [2], "_name": ["near"],
    }, {"model_id": "the attachment's model embeds the text"}),
    "OpenSearch's hybrid": Group(opensearch.HYBRID_KEYS, in_queries, {
        "queries": [[MATCH]], "filter": [TERM, [TERM], NAMED], "pagination_depth": [0],
    }),
    "search_pipeline": Group(opensearch_pipeline.PIPELINE_KEYS, in_pipeline, {
        "request_processors": [[{"filter_query": {"query": TERM}}], [{"oversample": {"sample_factor": 2}}]],
        "phase_results_processors": [[{"score-ranker-processor": RANKED}], [], [{"normalization-processor": NORMALIZED}] * 2],
    }, {"description": "describes the pipeline", "version": "describes the pipeline"}),
    "filter_query": Group(opensearch_pipeline.FILTER_QUERY_KEYS, in_filter_query, {"query": [TERM]}, LABELS),
    "normalization-processor": Group(
        opensearch_pipeline.PROCESSOR_KEYS["normalization-processor"], in_processor("normalization-processor", NORMALIZED), {
            "normalization": [{"technique": "l2"}, {"technique": "z_score"}, {"technique": "min_max", "parameters": {}}],
            "combination": [{"technique": "harmonic_mean"}, {"technique": "geometric_mean"}],
        }, LABELS,
    ),
    "score-ranker-processor": Group(
        opensearch_pipeline.PROCESSOR_KEYS["score-ranker-processor"], in_processor("score-ranker-processor", RANKED), {
            "combination": [{"technique": "rrf", "rank_constant": 5}],
        }, LABELS,
    ),
    "normalization-processor.combination": Group(
        opensearch_pipeline.COMBINATION_KEYS["normalization-processor"],
        in_combination("normalization-processor", NORMALIZED),
        {"technique": ["harmonic_mean"], "parameters": [{"weights": [0.9, 0.1]}, {"others": 1}]},
    ),
    "score-ranker-processor.combination": Group(
        opensearch_pipeline.COMBINATION_KEYS["score-ranker-processor"], in_combination("score-ranker-processor", RANKED),
        {"technique": ["other"], "parameters": [{"weights": [0.9, 0.1]}], "rank_constant": [5, "5"]},
    ),
    "_search": Group(SEARCH_KEYS, beside_hybrid, {
        "_source": [False, "title", ["title"], {"excludes": ["body"]}], "fields": [["year"], [{"field": "year"}]],
        "docvalue_fields": [["year"]], "stored_fields": ["title", ["title"], "_none_", ["_none_"]],
        "script_fields": [{"x": {"script": "1"}}], "highlight": [HIGHLIGHT, {"fields": [{"body": {"type": "plain"}}]},
                                                                {"fields": {"body": {"type": "semantic"}}}],
        "version": [True, "true"], "seq_no_primary_term": [True], "runtime_mappings": [{"title": {"type": "nothing"}}],
        "timeout": ["soon"], "pit": [{"id": 3}], "query": [{"hybrid": {"query": "brake"}}],
        "retriever": [{"rrf": {"query": TEXT}}], "size": [2, "2", 0], "from": [2, "2"],
        "aggs": [{"k": {"terms": {"field": "kind"}}}], "aggregations": [{"k": {"terms": {"field": "kind"}}}],
        "track_total_hits": [False, "false", 3, "3", -1], "explain": [True, "true"], "profile": [True, "true"],
        "post_filter": [TERM], "sort": ["year", ["year"], {"year": "desc"}, [{"_score": "asc"}], [{"_score": {"order": "asc"}}],
                                        {"_score": "asc"}, ["_shard_doc"]],
        "search_after": [3], "collapse": [{"field": "kind"}, {"field": "kind", "inner_hits": {"name": "g"}}],
        "suggest": [{"s": {"text": "dgo", "term": {"field": "body"}}}], "on_leg_failure": ["other"],
        "search_pipeline": [{"phase_results_processors": [{"normalization-processor": {}}]}, "named"], "min_score": [0.2, "0.2"],
        "rescore": [{"query": {"rescore_query": {"match_all": {}}}}], "slice": [{"id": 0, "max": 2}],
        "indices_boost": [[{INDEX: 3.0}]], "terminate_after": [1],
        "knn": [{"field": "esblend", "k": 1, "query_vector_builder": {"text_embedding": {"model_text": "car"}}}],
    }, {"stats": "counts searches in the index statistics", "track_scores": "see test_scores_are_left_out",
        "ext": "only plug-ins of Elasticsearch read it"}),
}  # fmt: skip
CASES = [
    (name, key, value) for name, group in GROUPS.items() for key, values in group.probes.items() for value in values
]


def ask(stack: Stack, body: Body, **params: Any) -> tuple[int, Body]:
    try:
        response = dict(stack.gateway.search(index=INDEX, body=copy.deepcopy(body), **params).body)
    except ApiError as error:
        return error.meta.status, error.body
    response.pop("took")
    return 200, response


@pytest.mark.parametrize("name", GROUPS)
def test_every_declared_key_has_a_probe(name: str) -> None:
    group = GROUPS[name]
    assert group.probes.keys() | group.without_effect.keys() == group.keys


@pytest.mark.parametrize(("name", "key", "value"), CASES, ids=lambda part: str(part)[:50])
def test_a_key_has_an_effect_or_is_refused_by_name(stack: Stack, name: str, key: str, value: Any) -> None:
    check_key(stack, GROUPS[name], key, value)


def check_key(stack: Stack, group: Group, key: str, value: Any) -> None:
    """A key with a value changes the response, or is refused by name."""
    status, plain = ask(stack, group.insert("", None))
    assert status == 200, plain
    status, changed = ask(stack, group.insert(key, value))
    if status == 200:
        assert changed != plain
    else:
        assert 400 <= status < 500
        words = str(changed["error"]).lower()
        inner = [str(name) for name in value] if isinstance(value, dict) else []
        assert any(word.lower() in words for word in (key, key.removesuffix("s"), str(value), *inner))


@pytest.mark.parametrize("name", GROUPS)
def test_an_unknown_key_is_refused_by_name(stack: Stack, name: str) -> None:
    status, response = ask(stack, GROUPS[name].insert("no_such_key", 1))
    assert status == 400
    assert "no_such_key" in str(response["error"])


PARAMETERS: dict[str, list[Any]] = {
    "routing": ["r"], "preference": ["_shards:0"], "ignore_unavailable": ["other"], "allow_no_indices": ["other"],
    "expand_wildcards": ["other"], "search_type": ["other"], "allow_partial_search_results": ["other"], "typed_keys": ["true"],
    "rest_total_hits_as_int": ["true"], "filter_path": ["hits.total"], "size": ["2", "x"], "from": ["2"],
    "track_total_hits": ["false", "3", "-1"], "explain": ["true"], "version": ["true"], "seq_no_primary_term": ["true"],
    "docvalue_fields": ["year"], "stored_fields": ["title", "_none_"], "sort": ["year", "year:desc", "_score:asc"],
    "format": ["yaml"], "timeout": ["soon"], "on_leg_failure": ["other"], "_source": ["false", "title"],
    "_source_includes": ["title"], "_source_excludes": ["title"], "scroll": ["1m"], "terminate_after": ["1"],
    "track_scores": ["other"],
}  # fmt: skip
FREE = {
    "pretty": "changes white space", "human": "adds units, which a search response does not have", "error_trace": "adds to errors",
    "stats": "counts searches in the index statistics", **dict.fromkeys(url_parameters.WITHOUT_EFFECT, "tunes the execution"),
    "max_concurrent_searches": "of [_msearch]",
}  # fmt: skip


def test_every_url_parameter_has_a_probe() -> None:
    assert PARAMETERS.keys() | FREE.keys() == url_parameters.KNOWN | url_parameters.AS_CLAUSE


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in PARAMETERS.items() for value in values])
def test_a_url_parameter_has_an_effect_or_is_refused_by_name(stack: Stack, name: str, value: str) -> None:
    body = {**in_hybrid("", None), "aggs": {"k": {"terms": {"field": "kind"}}}}

    def get(query: str) -> tuple[int, Any]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        try:
            response = stack.gateway.perform_request("POST", f"/{INDEX}/_search?{query}", headers=headers, body=body)
        except ApiError as error:
            return error.meta.status, error.body
        return 200, {key: part for key, part in response.body.items() if key != "took"}

    status, changed = get(f"{name}={value}")
    if status == 200:
        assert changed != get("")[1]
    else:
        assert 400 <= status < 500
        assert name in str(changed["error"]) or value in str(changed["error"])


def test_a_wildcard_for_all_fields_is_the_list_of_text_fields(stack: Stack) -> None:
    assert ask(stack, in_hybrid("fields", ["*"])) == ask(stack, in_hybrid("fields", ["body", "title"]))


def test_a_mean_of_scores_is_their_sum_by_the_weights(stack: Stack) -> None:
    weights = {"weights": {"lexical": 1, "semantic": 3}}
    _, sums = ask(stack, {"query": {"hybrid": {**HYBRID, **weights}}})
    _, means = ask(stack, {"query": {"hybrid": {**HYBRID, **weights, "combination": "arithmetic_mean"}}})
    for summed, mean in zip(sums["hits"]["hits"], means["hits"]["hits"], strict=True):
        assert mean["_score"] == pytest.approx(summed["_score"] / 4)


def test_windowed_blending_sees_the_windows_only(stack: Stack) -> None:
    """The window of each leg has one document; the lexical one is not the nearest, so it has no semantic score there."""
    text, by_blending = "brake feed", {}
    for blending in ("exact", "windowed"):
        options = {"query": text, "rank_window_size": 1, "blending": blending, "weights": {"lexical": 1, "semantic": 1}}
        _, response = ask(stack, {"query": {"hybrid": options}, "size": 1, "explain": True})
        by_blending[blending] = response["hits"]["hits"][0]["_explanation"]
    assert by_blending["exact"] != by_blending["windowed"]


def test_scores_are_left_out(stack: Stack) -> None:
    _, response = ask(stack, {**in_hybrid("", None), "sort": ["year"], "track_scores": False})
    assert [hit["_score"] for hit in response["hits"]["hits"]] == [None] * len(TEXTS)
    assert response["hits"]["max_score"] is None
