"""Valid search bodies of every form, and functions that damage them."""

import copy
from typing import Any

from hypothesis import strategies as st

TEXT = "how to feed a young dog"
MATCH: dict[str, Any] = {"match": {"body": TEXT}}
TERM: dict[str, Any] = {"term": {"kind": "b"}}
STANDARD: dict[str, Any] = {"standard": {"query": MATCH, "filter": [TERM], "min_score": 0.1, "_name": "words"}}
BUILDER: dict[str, Any] = {"text_embedding": {"model_text": TEXT}}
KNN: dict[str, Any] = {
    "knn": {"field": "esblend", "query_vector_builder": BUILDER, "k": 5, "num_candidates": 20, "similarity": 0.1}
}
SORT: list[Any] = [{"year": {"order": "desc"}}, "_score"]
VALID: list[dict[str, Any]] = [
    {"query": {"hybrid": {"query": TEXT}}},
    {"query": {"hybrid": {
        "query": TEXT, "fields": ["title^2", "body"], "filter": TERM, "alpha": 0.5, "normalizer": "minmax", "min_score": 0.01,
        "rank_window_size": 20, "blending": "windowed", "inner_hits": {},
    }}, "size": 3, "from": 1, "highlight": {"fields": {"body": {}}}, "explain": True, "profile": True},
    {"query": {"hybrid": {"query": TEXT, "weights": {"lexical": 1, "semantic": 2}, "fusion": "rrf", "autocut": 2}},
     "aggs": {"k": {"terms": {"field": "kind"}}}},
    {"query": {"hybrid": {"query": TEXT}}, "sort": SORT, "size": 2, "search_after": [2003, 0.5]},
    {"query": {"hybrid": {"query": TEXT}}, "collapse": {"field": "kind"}, "post_filter": TERM, "track_total_hits": 3},
    {"retriever": {"rrf": {
        "retrievers": [STANDARD, {"retriever": KNN, "weight": 2}], "rank_constant": 20, "rank_window_size": 20, "filter": TERM,
    }}, "_source": ["title"], "fields": ["year"]},
    {"retriever": {"linear": {
        "retrievers": [{"retriever": STANDARD, "weight": 1.5, "normalizer": "minmax"}, {"retriever": KNN, "normalizer": "none"}],
        "min_score": 0.1,
    }}},
    {"retriever": {"rrf": {"query": TEXT, "fields": ["title", "esblend"]}}},
    {"retriever": {"rescorer": {"rescore": {"window_size": 10, "query": {"rescore_query": MATCH}}, "retriever": {"rrf": {
        "retrievers": [STANDARD, KNN]}}}}},
    {"retriever": {"pinned": {"ids": ["tax", "sea"], "retriever": {"rrf": {"retrievers": [STANDARD, KNN]}}}}},
    {"retriever": {"diversify": {"type": "mmr", "field": "esblend", "lambda": 0.5, "size": 3, "query_vector_builder": BUILDER,
                                 "retriever": KNN}}},
    {"query": {"hybrid": {"queries": [MATCH, {"neural": {"body": {"query_text": TEXT, "k": 5}}}]}},
     "search_pipeline": {"phase_results_processors": [{"normalization-processor": {
         "normalization": {"technique": "l2"}, "combination": {
             "technique": "harmonic_mean", "parameters": {"weights": [0.3, 0.7]}}}}]}},
    {"query": {"bool": {"must": [{"semantic": {"field": "body", "query": TEXT, "boost": 2}}], "filter": [TERM]}}},
    {"query": MATCH, "knn": [KNN["knn"], {"field": "body", "query_vector_builder": BUILDER, "k": 2, "num_candidates": 5}]},
    {"query": {"neural": {"body": {"query_text": TEXT, "k": 5}}}},
]  # fmt: skip

_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 20), st.sampled_from([10**9, -(10**12), 2**63, 2**70, 0.5, -1.0, 1e300, 5e-324]),
    st.text(max_size=8), st.sampled_from(["body", "esblend", "*", "_id", "rrf", "2^", "^", "title^-1", "a.b..c", "\ud800"]),
    st.sampled_from([{}, []]),
)  # fmt: skip
_KEYS = st.sampled_from(
    ["query", "retriever", "retrievers", "knn", "standard", "hybrid", "rrf", "filter", "weight", "size", "x", "", "fields", "field"]
)  # fmt: skip
_VALUES = st.recursive(
    _LEAVES | st.sampled_from([MATCH, TERM, STANDARD, KNN, *VALID]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_KEYS, inside, max_size=3),
    max_leaves=5,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every nested (container, key)."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, key) for key, _ in pairs] + [inner_place for _, inner in pairs for inner_place in places(inner)]


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """A valid body with one to three values replaced, removed, added or duplicated."""
    body = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        if not body:
            break
        container, key = draw(st.sampled_from(places(body)))
        how = draw(st.sampled_from(("replace", "replace", "remove", "add", "double")))
        if how == "replace":
            container[key] = copy.deepcopy(draw(_VALUES))
        elif how == "remove":
            container.pop(key)
        elif how == "add" and isinstance(container, dict):
            container[draw(_KEYS)] = copy.deepcopy(draw(_VALUES))
        elif how == "double" and isinstance(container, list):
            container += [copy.deepcopy(container[key])] * draw(st.integers(1, 3))
    return body
