"""Patterns with `*` match as Elasticsearch's do, in linear time."""

import re
import time

from hypothesis import given
from hypothesis import strategies as st

from esblend.wildcards import Wildcard, matching


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_a_star_matches_any_characters(pattern: str, name: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name)
    assert Wildcard(pattern).matches(name) == bool(expected)


def test_no_other_character_is_special() -> None:
    assert matching("a?[b]", ["axb", "a?[b]"]) == ["a?[b]"]


def test_names_keep_their_order() -> None:
    assert matching("t*", ["title", "body", "text"]) == ["title", "text"]


def test_hostile_patterns_cost_no_more_than_their_length() -> None:
    """A regular expression made of one of these patterns takes 25 ms to compile; these thousand would take 25 s of CPU."""
    names = ["a" * 60, "body"]
    began = time.process_time()
    for number in range(1000):
        assert matching("*a" * 400 + f"*{number}", names) == []
    assert matching("*a" * 1_000_000, names) == []
    assert time.process_time() - began < 10
