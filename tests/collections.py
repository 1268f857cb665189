"""Test collections with judgements: from `ESBLEND_TEST_DATA`, else from ../shared/data beside the checkout."""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BESIDE = Path(__file__).parent.parent.parent / "shared" / "data"


@dataclass(frozen=True)
class Collection:
    """Documents, test queries and their judgements (grades by query and document)."""

    documents: list[dict[str, Any]]
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]


def find_collection(name: str) -> Path | None:
    """The folder of a collection in BEIR's layout; None if this machine does not have it."""
    folder = Path(os.environ.get("ESBLEND_TEST_DATA", _BESIDE)) / name
    return folder if folder.is_dir() else None


def read_collection(folder: Path) -> Collection:
    judgements: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text("utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        judgements.setdefault(query, {})[document] = int(grade)
    queries = {query["_id"]: query["text"] for query in _jsonl(folder / "queries.jsonl")}
    return Collection(
        list(_jsonl(folder / "corpus.jsonl")), {query: queries[query] for query in judgements}, judgements
    )


def _jsonl(file: Path) -> Iterable[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def ndcg(ranked: Sequence[str], grades: Mapping[str, int], depth: int = 10) -> float:
    """Normalised discounted cumulative gain with linear gain, as trec_eval computes it (Järvelin and Kekäläinen, 2002)."""
    gain = sum(grades.get(document, 0) / math.log2(rank + 1) for rank, document in enumerate(ranked[:depth], start=1))
    best = sorted(grades.values(), reverse=True)[:depth]
    ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, start=1))
    return gain / ideal if ideal else 0.0
