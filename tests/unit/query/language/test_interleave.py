"""`hybrid.interleave` is parsed into two configurations."""

from typing import Any

import pytest

from esblend.errors import EsblendError
from query.language.search_body import parse_search
from query.language.tree import Hybrid, Interleave


def parse(interleave: Any, **options: Any) -> Interleave:
    hybrid = parse_search({"query": {"hybrid": {"query": "q", "interleave": interleave, **options}}}).ranking
    assert isinstance(hybrid, Hybrid)
    assert hybrid.interleave is not None
    return hybrid.interleave


def test_options_beside_it_are_shared_and_those_of_a_side_replace_them() -> None:
    parsed = parse(
        {"experiment": "t", "a": {}, "b": {"weights": {"lexical": 2, "semantic": 1}}}, alpha=0.3, fields=["title"]
    )
    assert (parsed.a.weights, parsed.a.fields) == ({"lexical": 0.7, "semantic": 0.3}, ("title",))
    assert (parsed.b.weights, parsed.b.fields) == ({"lexical": 2, "semantic": 1}, ("title",))


def test_other_configurations_are_another_experiment() -> None:
    first, same, other = (parse({"experiment": "t", "a": {}, "b": {"alpha": alpha}}) for alpha in (0.1, 0.1, 0.2))
    assert first.experiment == same.experiment != other.experiment
    assert first.experiment.startswith("t-")


@pytest.mark.parametrize(
    ("interleave", "named"),
    [
        ([], "hybrid.interleave"),
        ({"a": {}, "b": {"alpha": 1}}, "experiment"),
        ({"experiment": "no spaces", "a": {}, "b": {"alpha": 1}}, "experiment"),
        ({"experiment": "t", "session": 1, "a": {}, "b": {"alpha": 1}}, "session"),
        ({"experiment": "t", "session": "x" * 257, "a": {}, "b": {"alpha": 1}}, "session"),
        ({"experiment": "t", "a": {}}, r"needs \[b\]"),
        ({"experiment": "t", "a": {}, "b": {}}, "same configuration"),
        ({"experiment": "t", "a": {}, "b": {"alpha": 2}}, r"side \[b\].*hybrid.alpha"),
        ({"experiment": "t", "a": {}, "b": {"query": "other"}}, r"hybrid.interleave.b\] unknown field \[query\]"),
        ({"experiment": "t", "a": {}, "b": {"interleave": {}}}, r"unknown field \[interleave\]"),
        ({"experiment": "t", "a": {}, "b": {"alpha": 1}, "c": {}}, r"unknown field \[c\]"),
    ],
)
def test_what_cannot_be_compared_is_rejected_by_name(interleave: Any, named: str) -> None:
    with pytest.raises(EsblendError, match=named):
        parse(interleave)
