"""Team-draft interleaving by hand, and its laws."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from query.fusion.ranked_lists import FusedHit, Key
from query.fusion.team_draft import team_draft


def ranking(ids: str) -> list[FusedHit]:
    return [FusedHit(Key("i", id_), 1 / rank, ()) for rank, id_ in enumerate(ids, 1)]


def shown(a: str, b: str, seed: bytes = b"s") -> list[tuple[str, str]]:
    return [(pick.hit.key.id, pick.side if pick.counts else "-") for pick in team_draft(ranking(a), ranking(b), seed)]


def test_sides_pick_in_turn_what_the_list_lacks() -> None:
    # The coin decides who picks first in each round. After z or w one ranking has ended, so the last hit has no side.
    first_rounds = [(("x", "a"), ("y", "b")), (("y", "b"), ("x", "a"))]
    last_rounds = [(("z", "a"), ("w", "-")), (("w", "b"), ("z", "-"))]
    drafts = {tuple(shown("xyz", "yxw", bytes([number]))) for number in range(32)}
    assert drafts == {(*first, *last) for first in first_rounds for last in last_rounds}


def test_below_the_end_of_the_shorter_ranking_no_click_counts() -> None:
    assert shown("x", "yzw")[2:] == [("z", "-"), ("w", "-")]
    assert shown("", "yz") == [("y", "-"), ("z", "-")]
    assert shown("xy", "xy")[0][0] == "x"
    assert shown("", "") == []


def test_the_same_seed_gives_the_same_list_and_seeds_are_fair() -> None:
    assert shown("abcdef", "fedcba") == shown("abcdef", "fedcba")
    first = Counter(shown("ab", "cd", number.to_bytes(4, "big"))[0][1] for number in range(2000))
    assert 900 < first["a"] < 1100  # 4.5 standard deviations


LISTS = st.lists(st.sampled_from("abcdefghij"), unique=True).map("".join)


@given(LISTS, LISTS, st.binary(max_size=8))
def test_every_document_appears_once_and_teams_are_equal(a: str, b: str, seed: bytes) -> None:
    draft = shown(a, b, seed)
    assert sorted(id_ for id_, _ in draft) == sorted(set(a) | set(b))
    sizes = Counter(side for _, side in draft)
    assert abs(sizes["a"] - sizes["b"]) <= 1


@given(LISTS, st.binary(max_size=8))
def test_equal_rankings_stay_as_they_are(ids: str, seed: bytes) -> None:
    assert "".join(id_ for id_, _ in shown(ids, ids, seed)) == ids
