"""Request bodies that the plan makes."""

import numpy as np
import pytest

from esblend.errors import InvalidRequest
from mappings.attachment import Attachment, Generation, ModelIdentity, PassageSettings, QueryDefaults, VectorOptions
from query.fusion.ranked_lists import Key
from query.language.tree import Hybrid, KnnLeg, RrfLeg, Search, StandardLeg, Weighted, leaf_windows, leaves
from query.plan.documents import documents_query, parts_of_result
from query.plan.hybrid_legs import weights_of, window_of
from query.plan.knn import num_candidates
from query.plan.legs import leaf_body
from query.plan.lexical import lexical_query
from query.plan.page import counted_query, page_body, scored_documents, totals_body
from query.targets.target import Target

GENERATION = Generation(
    model=ModelIdentity(name="m", digest="d", dims=3), passages=PassageSettings(), vector=VectorOptions()
)


def attachment(**defaults: object) -> Attachment:
    return Attachment(
        field="esblend",
        source_fields=["title", "body"],
        active="g1",
        generations={"g1": GENERATION},
        defaults=QueryDefaults.model_validate(defaults),
    )


SEARCH = Search(Hybrid(("x",)))


def test_one_field_is_a_match_several_are_one_or_a_sum() -> None:
    assert lexical_query("q", ["body"], same_analyzer=True) == {"match": {"body": {"query": "q"}}}
    assert lexical_query("q", ["title^2", "body"], same_analyzer=False)["multi_match"]["fields"] == ["title^2", "body"]
    assert lexical_query("q", ["title^2", "body"], same_analyzer=True)["combined_fields"]["fields"] == [
        "title^2",
        "body",
    ]
    assert "multi_match" in lexical_query("q", ["title", "body^0.5"], same_analyzer=True)
    assert "multi_match" in lexical_query("q", ["code*"], same_analyzer=True)
    assert lexical_query("q", ["body"], {"fuzziness": 1}, same_analyzer=True)["match"]["body"]["fuzziness"] == 1
    assert lexical_query("q", ["body"], {"type": "phrase"}, same_analyzer=True)["multi_match"]["type"] == "phrase"
    assert (
        lexical_query("q", ["a", "b"], {"operator": "and"}, same_analyzer=True)["combined_fields"]["operator"] == "and"
    )


def test_fields_are_one_only_where_all_indices_analyse_them_alike() -> None:
    alike = {"title": "english", "body": "english", "name": "simple"}
    assert Target(("i",), attachment(), (alike,)).share_analyzer(["title^2", "body"])
    assert not Target(("i",), attachment(), (alike,)).share_analyzer(["title", "name"])
    assert not Target(("i", "j"), attachment(), (alike, {"title": "english"})).share_analyzer(["title", "body"])


def test_the_request_wins_over_the_attachment_and_that_over_the_default() -> None:
    assert weights_of(Hybrid(("x",)), attachment()) == pytest.approx({"lexical": 0.35, "semantic": 0.65})
    assert weights_of(Hybrid(("x",)), attachment(alpha=0.4)) == pytest.approx({"lexical": 0.6, "semantic": 0.4})
    given = {"lexical": 2.0, "semantic": 0.0}
    assert weights_of(Hybrid(("x",), weights=given), attachment(alpha=0.4)) == given
    with pytest.raises(InvalidRequest, match=r"passages\.fields: apart"):
        weights_of(Hybrid(("x",), weights={"lexical": 1.0, "title": 1.0}), attachment())
    assert window_of(Hybrid(("x",)), attachment(), SEARCH) == 100
    assert window_of(Hybrid(("x",)), attachment(), Search(Hybrid(("x",)), size=150)) == 150
    assert window_of(Hybrid(("x",), window=30), attachment(), SEARCH) == 30


def test_filters_go_before_both_kinds_of_legs() -> None:
    term = {"term": {"kind": "a"}}
    standard = leaf_body(StandardLeg({"match_all": {}}, (term,)), 10, SEARCH)
    assert standard["query"] == {"bool": {"must": [{"match_all": {}}], "filter": [term]}}
    knn = leaf_body(KnnLeg({"field": "v", "query_vector": np.ones(3)}, (term,)), 10, SEARCH)
    assert knn["knn"]["filter"] == [term]
    assert (knn["knn"]["k"], knn["knn"]["num_candidates"]) == (10, 100)


def test_candidates_are_bounded() -> None:
    assert [num_candidates(k) for k in (1, 100, 10_000)] == [100, 150, 10_000]


def test_leaves_of_a_tree_come_in_order_with_the_window_around_them() -> None:
    a, b, c = (StandardLeg({"match_all": {}}, name=name) for name in "abc")
    tree = RrfLeg((Weighted(a), Weighted(RrfLeg((Weighted(b), Weighted(c)), window=20))), window=50)
    assert [leaf.name for leaf in leaves(tree)] == ["a", "b", "c"]
    assert list(leaf_windows(tree, 10)) == [50, 20, 20]


def test_documents_are_named_by_index_and_id() -> None:
    query = documents_query([Key("i", "1"), Key("j", "1"), Key("i", "2")])
    [first, second] = query["bool"]["should"]
    assert first["bool"]["filter"] == [{"term": {"_index": "i"}}, {"ids": {"values": ["1", "2"]}}]
    assert second["bool"]["filter"] == [{"term": {"_index": "j"}}, {"ids": {"values": ["1"]}}]


def test_documents_of_two_large_windows_are_found() -> None:
    """An `ids` query accepts 10,000 ids."""
    query = documents_query([Key("i", str(number)) for number in range(20_000)])
    [_, found] = query["bool"]["filter"]
    assert [len(part["ids"]["values"]) for part in found["bool"]["should"]] == [10_000, 10_000]
    assert list(map(len, parts_of_result(range(10_001)))) == [10_000, 1]


def test_highlights_mark_the_lexical_terms_unless_told_otherwise() -> None:
    match = {"match": {"body": "q"}}
    page = page_body([Key("i", "1")], Search(Hybrid(("x",)), page={"highlight": {"fields": {"body": {}}}}), [match])
    assert page["highlight"]["highlight_query"] == {"bool": {"should": [match]}}
    own = {"highlight": {"fields": {"body": {}}, "highlight_query": {"match_all": {}}}}
    assert page_body([Key("i", "1")], Search(Hybrid(("x",)), page=own), [match])["highlight"] == own["highlight"]


def test_totals_count_the_matches_of_every_leg() -> None:
    match = {"match": {"body": "q"}}
    search = Search(Hybrid(("x",)), aggregations={"a": {"terms": {"field": "kind"}}}, track_total_hits=True)
    body = totals_body(counted_query([match], [Key("i", "1")]), {Key("i", "1"): 0.5}, search)
    assert body["query"]["bool"]["should"][0] == match
    assert len(body["query"]["bool"]["should"]) == 2
    assert (body["aggs"], body["track_total_hits"], body["size"]) == (search.aggregations, True, 0)


def test_aggregations_that_read_the_score_see_the_fused_score() -> None:
    search = Search(Hybrid(("x",)), aggregations={"best": {"max": {"script": "_score"}}})
    body = totals_body(counted_query([{"match_all": {}}], []), {Key("i", "1"): 0.5, Key("i", "2"): -1.0}, search)
    [scored] = body["query"]["bool"]["should"]
    [by_score] = scored["bool"]["must"]
    assert [query["constant_score"]["boost"] for query in by_score["dis_max"]["queries"]] == [0.5, 0.0]
    assert body["query"]["bool"]["must"][0]["constant_score"]["boost"] == 0.0


def test_each_score_is_one_clause() -> None:
    """Elasticsearch limits the clauses of a query."""
    one = scored_documents({Key("i", "1"): 0.5, Key("i", "2"): 0.4})
    assert one["bool"]["filter"] == [{"term": {"_index": "i"}}]
    assert one["bool"]["must"][0]["dis_max"]["queries"][0]["constant_score"]["filter"] == {"ids": {"values": ["1"]}}
    two = scored_documents({Key("i", "1"): 0.5, Key("j", "1"): 0.4})
    assert [query["bool"]["filter"][0]["term"]["_index"] for query in two["dis_max"]["queries"]] == ["i", "j"]
