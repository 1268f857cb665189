"""Requests by sequence number: when they apply, and what their responses say."""

from typing import Any

import pytest

from query.fusion.ranked_lists import Key, NumberedKey
from query.language.tree import Hybrid, KnnLeg, Leg, LinearLeg, PinnedLeg, RrfLeg, Search, StandardLeg, Weighted
from query.plan.documents import documents_query
from query.plan.legs import leaf_body
from query.plan.sequence_numbers import (
    NumbersMissing,
    keys_of_hits,
    nearest_only,
    nearest_only_body,
    needs_only_page,
    numbered,
    take_numbers,
    total_of_both,
)
from query.plan.tree_queries import is_ranked_by_number

TEXT = StandardLeg({"match": {"body": "whale"}}, ({"term": {"lang": "en"}},))
NEAREST = KnnLeg({"field": "v", "query_vector": [1.0], "k": 20})
EXACT = {"value": 40, "relation": "eq"}
SEARCH = Search(Hybrid(("whale",)))


def rrf(*legs: Leg, window: int = 20, **options: Any) -> RrfLeg:
    return RrfLeg(tuple(map(Weighted, legs)), window, **options)


def test_a_ranked_list_with_numbers_reads_no_stored_field() -> None:
    body = numbered(leaf_body(TEXT, 20, SEARCH))
    assert (body["stored_fields"], body["seq_no_primary_term"]) == ("_none_", True)
    assert "_source" not in body


def test_documents_are_found_by_their_numbers() -> None:
    query = documents_query([NumberedKey("i", "7/1"), NumberedKey("i", "9/2")])
    assert query["bool"]["filter"] == [{"term": {"_index": "i"}}, {"terms": {"_seq_no": ["7", "9"]}}]


def test_a_hit_has_an_id_or_a_number() -> None:
    assert keys_of_hits([{"_index": "i", "_id": "a"}]) == [Key("i", "a")]
    [number] = keys_of_hits([{"_index": "i", "_seq_no": 7, "_primary_term": 1}])
    assert (number, type(number)) == (("i", "7/1"), NumberedKey)
    assert keys_of_hits([]) == []
    repeated = {"_index": "i", "_seq_no": 7, "_primary_term": 1}
    for hits in ([{"_index": "i"}], [repeated, repeated]):  # the documents of a shrunk index share numbers
        with pytest.raises(NumbersMissing):
            keys_of_hits(hits)


def test_numbers_are_shown_to_callers_who_ask_for_them() -> None:
    def hits() -> list[dict[str, Any]]:
        return [{"_index": "i", "_id": "a", "_seq_no": 7, "_primary_term": 1}]

    retained, removed = hits(), hits()
    assert take_numbers(removed, SEARCH) == [NumberedKey("i", "7/1")]
    take_numbers(retained, Search(Hybrid(("whale",)), page={"seq_no_primary_term": True}))
    assert (removed, retained) == ([{"_index": "i", "_id": "a"}], hits())


@pytest.mark.parametrize(
    "options",
    [
        {"start": 10}, {"explain": True}, {"size": 0}, {"sort": ("n",)}, {"aggregations": {"a": {}}}, {"post_filter": {}},
        {"min_score": 0.0}, {"page": {"stored_fields": "_none_"}}, {"search_after": (1,)}, {"collapse": {"field": "n"}},
    ],
)  # fmt: skip
def test_searches_that_need_more_than_the_first_page(options: dict[str, Any]) -> None:
    assert needs_only_page(SEARCH)
    assert not needs_only_page(Search(Hybrid(("whale",)), **options))


def test_fusions_of_queries_and_vectors_are_ranked_by_number() -> None:
    assert is_ranked_by_number(rrf(TEXT, NEAREST))
    assert is_ranked_by_number(LinearLeg((Weighted(rrf(TEXT, NEAREST)), Weighted(TEXT)), 10))


@pytest.mark.parametrize(
    "leg",
    [
        TEXT, rrf(TEXT, NEAREST, min_score=0.1), rrf(TEXT, NEAREST, name="mine"), PinnedLeg(rrf(TEXT), (), 10),
        rrf(PinnedLeg(TEXT, (), 10), NEAREST), rrf(StandardLeg(TEXT.query, is_named=True), NEAREST),
        rrf(StandardLeg(TEXT.query, options={"sort": ["n"]}), NEAREST), rrf(TEXT, KnnLeg(NEAREST.section, min_score=0.5)),
        rrf(TEXT, KnnLeg({**NEAREST.section, "inner_hits": {}})),
        rrf(StandardLeg({"match": {"body": {"query": "whale", "_name": "words"}}}), NEAREST),
    ],
)  # fmt: skip
def test_trees_that_need_ids(leg: Leg) -> None:
    assert not is_ranked_by_number(leg)


def test_the_nearest_documents_that_a_query_does_not_match() -> None:
    assert nearest_only(TEXT.query) == {"bool": {"must_not": [TEXT.query]}}
    body = nearest_only_body(TEXT.query, [NumberedKey("i", "7/1")], SEARCH)
    documents = documents_query([NumberedKey("i", "7/1")])
    assert body["query"] == {"bool": {"filter": [documents], "must_not": [TEXT.query]}}
    assert (body["size"], body["track_total_hits"]) == (0, True)


@pytest.mark.parametrize(
    ("most", "matched", "expected"),
    [
        (10_000, EXACT, {"value": 43, "relation": "eq"}), (True, EXACT, {"value": 43, "relation": "eq"}),
        (42, EXACT, {"value": 42, "relation": "gte"}),
        (10, {"value": 10, "relation": "gte"}, {"value": 10, "relation": "gte"}),
    ],
)  # fmt: skip
def test_totals_add_nearest_documents_without_a_word(most: bool | int, matched: Any, expected: Any) -> None:
    assert total_of_both(most, matched, 3) == expected
