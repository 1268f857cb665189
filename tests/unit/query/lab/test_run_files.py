"""TREC runs of other systems: what cannot be compared is named before anything is measured."""

from pathlib import Path

import pytest

from esblend.errors import InvalidRequest
from query.lab.judgements import Judged
from query.lab.run_files import read_runs, refuse_equal_labels

JUDGED = Judged("j", {"a": "cat"}, {"a": {"1": 1}})


def run_file(folder: Path, name: str, text: str = "a Q0 1 1 2.0 x\na Q0 2 2 3.0 x\n") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_hits_are_in_the_order_of_their_scores(tmp_path: Path) -> None:
    runs = read_runs([run_file(tmp_path, "mine.run")], ["BM25"], JUDGED)
    assert list(runs["mine"]["a"]) == ["2", "1"]


def test_a_run_of_other_queries_is_refused(tmp_path: Path) -> None:
    other = run_file(tmp_path, "other.run", "b Q0 1 1 2.0 x\n")
    with pytest.raises(InvalidRequest, match=r"has none of the queries of \[j\]"):
        read_runs([other], ["BM25"], JUDGED)
    assert read_runs([other], ["BM25"], None)["other"]


def test_two_systems_are_not_written_to_one_file() -> None:
    refuse_equal_labels(["BM25", "linear exact", "linear windowed, minmax", "mine"])
    with pytest.raises(InvalidRequest, match=r"two systems to bm25\.run"):
        refuse_equal_labels(["BM25", "linear exact", "bm25"])
