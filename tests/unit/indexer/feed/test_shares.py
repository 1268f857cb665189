"""Every process computes the same even division, and a change of the processes moves little."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.feed.shares import Shares

names = st.sets(st.text("abcdef0123456789", min_size=1, max_size=8), max_size=60)


def keys_of(count: int) -> list[str]:
    return [f"uuid{number}-g1" for number in range(count)]


@given(names, names)
def test_every_key_has_one_member_and_nobody_more_than_a_quarter_above_the_mean(
    keys: set[str], members: set[str]
) -> None:
    shares = Shares().of(keys, members)
    if not members:
        assert shares == {}
        return
    assert shares.keys() == keys
    mean = len(keys) / len(members)
    assert max(Counter(shares.values()).values(), default=0) <= max(1.25 * mean, -(-len(keys) // len(members)))


@given(names, names, names, names)
def test_what_was_computed_before_does_not_matter(
    keys: set[str], members: set[str], earlier_keys: set[str], earlier_members: set[str]
) -> None:
    used = Shares()
    used.of(earlier_keys, earlier_members)
    used.of(keys, earlier_members)
    assert used.of(sorted(keys, reverse=True), sorted(members, reverse=True)) == Shares().of(keys, members)


def moved(before: dict[str, str], after: dict[str, str]) -> int:
    return sum(before[key] != after[key] for key in before.keys() & after.keys())


@pytest.mark.parametrize(("members", "most"), [(["a", "b"], 130), (["a", "b", "c", "d"], 100)])
def test_little_more_than_one_share_moves(members: list[str], most: int) -> None:
    """Of 300 keys of three members, 100 move at least when one goes, and 75 when one comes."""
    shares = Shares()
    assert moved(shares.of(keys_of(300), ["a", "b", "c"]), shares.of(keys_of(300), members)) <= most


def test_a_new_index_moves_few_others() -> None:
    shares, members = Shares(), ["a", "b", "c"]
    divisions = [shares.of(keys_of(count), members) for count in range(100, 200)]
    assert sum(map(moved, divisions, divisions[1:])) <= 100
