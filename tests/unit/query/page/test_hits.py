"""The scores that hits and their groups show, and pages with equal scores."""

from hypothesis import given
from hypothesis import strategies as st

from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import Hybrid, Search
from query.page.hits import show_fused_scores, with_ties

COLLAPSE = {"field": "kind", "inner_hits": {"name": "all"}}


def test_a_page_without_hits_reads_no_options_of_groups() -> None:
    show_fused_scores([], {}, {}, Search(Hybrid(("wing",)), collapse={"field": "kind", "inner_hits": ["x"]}))


def test_a_group_of_another_name_is_left_as_it_is() -> None:
    key = Key("articles", "1")
    groups = {"other": {"hits": {"max_score": 2.0, "hits": []}}}
    hit = {"_index": "articles", "_id": "1", "_score": 2.0, "inner_hits": groups}
    show_fused_scores([hit], {key: FusedHit(key, 0.5, ())}, {key: 2.0}, Search(Hybrid(("wing",)), collapse=COLLAPSE))
    assert (hit["_score"], hit["inner_hits"]) == (0.5, groups)


SCORES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, -1.0]), min_size=1, max_size=30)


@given(SCORES, st.integers(0, 29), st.integers(1, 10), st.randoms())
def test_a_page_with_ties_has_the_order_of_scores_and_documents(
    scores: list[float], first: int, size: int, random: object
) -> None:
    """Elasticsearch sorts by position and then by its number of the document, and cuts the page."""
    hits = [FusedHit(Key("i", str(number)), score, ()) for number, score in enumerate(scores)]
    expected = sorted(hits, key=lambda hit: (-hit.score, int(hit.key.id)))[first : first + size]
    random.shuffle(hits)  # type: ignore[attr-defined]
    fused = sorted(hits, key=lambda hit: -hit.score)
    ties = with_ties(fused, first, min(first + size, len(fused)))
    if ties is None:
        assert fused[first : first + size] == expected
        return
    found = sorted(ties.positions, key=lambda key: (-ties.positions[key], int(key.id)))
    page = ties.in_order_of(found[ties.skip : ties.skip + size])
    assert page == expected
    assert len(set(ties.positions.values())) <= 3
