"""The tables of docs/search.md name the keys that the code accepts, and no others."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from query.language import hybrid, search_body, semantic
from query.language.retriever_checks import FUSED_LEG_KEYS, RESCORE_KEYS, RESCORE_QUERY_KEYS, RETRIEVER_KEYS

PAGE = (Path(__file__).parents[4] / "docs" / "search.md").read_text()


def table_of(header: str) -> dict[str, str]:
    """The rows of a table by their first cell, as Markdown."""
    lines = iter(PAGE[PAGE.index(header) :].splitlines()[2:])
    rows: dict[str, str] = {}
    for line in lines:
        if not line.startswith("|"):
            break
        first, _, rest = line.strip("| ").partition("|")
        rows[first.strip()] = rest
    return rows


def codes(text: str) -> Iterator[str]:
    """The names in backticks; of `size: 3` and of `knn.field` the last name."""
    for code in re.findall(r"`([^`]+)`", text):
        yield re.split(r"[:\s=]", code)[0].rpartition(".")[2]


KEYS = table_of("| retriever | keys |")
COMPARED = table_of("| key | esblend | difference or reason |")
INNER = frozenset((*RESCORE_KEYS, *RESCORE_QUERY_KEYS)).union(*FUSED_LEG_KEYS.values())
VALUES = {"none", "minmax", "l2_norm", "mmr", "type"}


@pytest.mark.parametrize("kind", RETRIEVER_KEYS)
def test_the_keys_of_a_retriever_are_documented(kind: str) -> None:
    named = set(codes(KEYS[f"`{kind}`"]))
    assert RETRIEVER_KEYS[kind] <= named
    assert named <= RETRIEVER_KEYS[kind] | INNER | VALUES


@pytest.mark.parametrize("kind", RETRIEVER_KEYS)
def test_each_retriever_is_compared_with_elasticsearchs(kind: str) -> None:
    assert any(kind in set(codes(key)) or f"`{kind}" in key for key in COMPARED)


def test_each_row_says_same_different_or_rejected() -> None:
    assert {row.partition("|")[0].strip() for row in COMPARED.values()} == {"same", "different", "rejected"}
    for key, row in COMPARED.items():
        if not row.startswith(" same"):
            assert row.partition("|")[2].strip(), f"{key} has no reason"


@pytest.mark.parametrize(
    "key", sorted({*search_body.PAGE_OPTIONS, *search_body.COMMON_OPTIONS, *search_body.OTHER_OPTIONS})
)
def test_the_keys_of_a_search_are_documented(key: str) -> None:
    beside = PAGE[PAGE.index("## Beside the query") : PAGE.index("## When a leg fails")]
    assert key in {
        *codes(beside),
        *codes("".join(COMPARED)),
        "query",
        "retriever",
        "aggregations",
        "on_leg_failure",
        "search_pipeline",
    }


@pytest.mark.parametrize(
    ("header", "keys"),
    [("| key | default | meaning |\n|---|---|---|\n| `query` | required | the text, for", hybrid.HYBRID_KEYS),
     ("| key | default | meaning |\n|---|---|---|\n| `query` | required | the text |", semantic.SEMANTIC_KEYS)],
)  # fmt: skip
def test_the_keys_of_a_clause_are_documented(header: str, keys: frozenset[str]) -> None:
    named = {code for cell in table_of(header) for code in codes(cell)}
    assert named == keys
