"""The scores that hits and their groups show."""

from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import Hybrid, Search
from query.page.hits import show_fused_scores

COLLAPSE = {"field": "kind", "inner_hits": {"name": "all"}}


def test_a_page_without_hits_reads_no_options_of_groups() -> None:
    show_fused_scores([], {}, {}, Search(Hybrid(("wing",)), collapse={"field": "kind", "inner_hits": ["x"]}))


def test_a_group_of_another_name_is_left_as_it_is() -> None:
    key = Key("articles", "1")
    groups = {"other": {"hits": {"max_score": 2.0, "hits": []}}}
    hit = {"_index": "articles", "_id": "1", "_score": 2.0, "inner_hits": groups}
    show_fused_scores([hit], {key: FusedHit(key, 0.5, ())}, {key: 2.0}, Search(Hybrid(("wing",)), collapse=COLLAPSE))
    assert (hit["_score"], hit["inner_hits"]) == (0.5, groups)
