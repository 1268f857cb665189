"""Cursors over fused hits, and the places of candidates that Elasticsearch arranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esblend.errors import InvalidRequest
from query.fusion.ranked_lists import FusedHit, Key
from query.language.tree import Hybrid, Search
from query.page.cursors import add_cursors, after_cursor, after_position, positions_of


def fused(*scores: float) -> list[FusedHit]:
    ranked = sorted(enumerate(scores), key=lambda pair: -pair[1])
    return [FusedHit(Key("i", str(number)), score, ()) for number, score in ranked]


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 1e-9, -2.0]), max_size=40), st.integers(1, 7))
def test_cursors_walk_over_every_hit_once(scores: list[float], size: int) -> None:
    ranked = fused(*scores)
    seen: list[str] = []
    first = 0
    while page := ranked[first : first + size]:
        hits = [{"_index": hit.key.index, "_id": hit.key.id, "_score": hit.score} for hit in page]
        add_cursors(hits)
        seen += [str(hit["_id"]) for hit in hits]
        first = after_cursor(ranked, hits[-1]["sort"])  # type: ignore[arg-type]
    assert seen == [hit.key.id for hit in ranked]


def test_a_cursor_whose_document_is_gone_goes_on_below_its_score() -> None:
    assert after_cursor(fused(0.9, 0.5, 0.4), [0.5, "i/gone"]) == 2


def test_a_cursor_that_is_no_score_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is not a score"):
        after_cursor(fused(0.9), ["2020-01-01"])


def test_places_go_up_with_the_score_and_equal_scores_share_one() -> None:
    ranked = fused(0.9, -0.5, 0.9)
    assert [positions_of(ranked)[hit.key] for hit in ranked] == [2, 2, 1]


@pytest.mark.parametrize(("value", "rank"), [(0.9, 2.0), (-0.5, 1.0), (0.3, 1.5), (5.0, 2.5)])
def test_a_score_in_search_after_stands_for_its_place(value: float, rank: float) -> None:
    search = Search(Hybrid(("x",)), sort=({"year": "asc"}, "_score"), search_after=(2001, value))
    assert after_position(search, fused(0.9, -0.5)).search_after == (2001, rank)
