"""The lab measures what it names, and refuses what cannot work before it embeds or searches."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch.helpers import bulk

from tests.conftest import ESBLEND, Stack
from tests.terminal import run_in_terminal

TEXTS = {
    "1": "The feline sleeps on the mat", "2": "A vessel crosses the ocean", "3": "Income tax is due in spring",
    "4": "Bread rises in the oven", "5": "Snow falls on the mountain", "6": "The cat is a word of three letters",
}  # fmt: skip
QUERIES = {"a": "cat", "b": "ship", "c": "tax", "d": "loaf", "e": "snow", "f": "kitten"}
RIGHT = {"a": "1", "b": "2", "c": "3", "d": "4", "e": "5", "f": "1"}


@pytest.fixture(scope="module")
def index(stack: Stack) -> Iterator[str]:
    stack.es.indices.create(index="labels", mappings={"properties": {"text": {"type": "text", "analyzer": "english"}}})
    bulk(stack.es, [{"_id": id_, "text": text} for id_, text in TEXTS.items()], index="labels", refresh=True)
    stack.attach("labels", "text")
    stack.wait("labels")
    yield "labels"
    stack.es.indices.delete(index="labels")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("judgements")
    (folder / "queries.tsv").write_text("".join(f"{id_}\t{text}\n" for id_, text in QUERIES.items()))
    (folder / "qrels.txt").write_text("".join(f"{id_} 0 {document} 1\n" for id_, document in RIGHT.items()))
    return ["--queries", str(folder / "queries.tsv"), "--qrels", str(folder / "qrels.txt")]


def evaluate(stack: Stack, index: str, *arguments: str) -> dict[str, Any]:
    done = stack.esblend("eval", index, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_defaults_of_the_attachment_change_no_figure(stack: Stack, index: str, files: list[str]) -> None:
    path = f"/_esblend/indices/{index}/defaults"
    before = evaluate(stack, index, *files)
    weights = {"lexical": 0, "semantic": 1}
    try:
        stack.call("PUT", path, {"fusion": "rrf", "weights": weights, "normalizer": "dbsf", "rank_window_size": 2})
        after = evaluate(stack, index, *files)
    finally:
        stack.call("PUT", path, {})
    for values in (before, after):
        for system in values["systems"].values():
            del system["p50_ms"], system["p95_ms"]
        del values["seconds"]
    assert after == before
    assert before["systems"]["linear exact"]["nDCG@10"] > before["systems"]["BM25"]["nDCG@10"]


def test_the_share_of_judged_hits_is_shown(stack: Stack, index: str, files: list[str]) -> None:
    evaluated = evaluate(stack, index, *files)
    # kNN finds all six documents for each of six queries, of which one is judged.
    assert evaluated["systems"]["kNN"]["judged@10"] == pytest.approx(1 / 6, abs=1e-4)


def test_eval_at_a_terminal_of_80_columns_cuts_no_number_and_ends_with_the_result(
    stack: Stack, index: str, files: list[str]
) -> None:
    command = [*ESBLEND, "eval", index, *files, "--data-dir", str(stack.data_dir)]
    exit_code, shown = run_in_terminal(command, 80)
    assert exit_code == 0, shown
    assert "…" not in shown
    rows = [line for line in shown.splitlines() if line.strip().startswith("kNN ")]
    assert len(rows) == 2
    assert re.fullmatch(r" *kNN( +[01]\.\d{4}){5} *", rows[0]), rows
    assert "judged@10" in shown
    assert re.search(
        r"(Blend|between Blend) \(linear exact\).*nDCG@10, p [<=] [01]\.\d{3}, \d+ quer", " ".join(shown.split())
    )


def test_a_sample_of_weak_judgements_is_weak(stack: Stack, index: str, tmp_path: Path) -> None:
    clicks = tmp_path / "clicks.csv"
    clicks.write_text("query,document,clicks\n" + "".join(f"{QUERIES[id_]},{RIGHT[id_]},3\n" for id_ in QUERIES))
    assert evaluate(stack, index, "--qrels", str(clicks), "--sample", "3")["weak"] is True


def test_relevant_documents_that_the_index_lacks_are_counted(
    stack: Stack, index: str, files: list[str], tmp_path: Path
) -> None:
    further_file = tmp_path / "more.txt"
    further_file.write_text(Path(files[3]).read_text() + "a 0 nobody 2\na 0 nothing 0\n")
    done = stack.esblend("eval", index, *files[:2], "--qrels", str(further_file))
    assert done.returncode == 0, done.stderr
    assert "lacks 1 of the 6 documents that are judged relevant" in " ".join(done.stderr.split())


def test_what_cannot_work_is_refused_first(stack: Stack, index: str, files: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("a 0 nobody 1\n")
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\n")
    (folder / "queries.jsonl").write_text('{"_id": "a", "text": "cat"}\n')
    (folder / "corpus.jsonl").write_text('{"_id": "1", "title": "", "text": "The feline"}\n')
    for name in ("kNN.run", "mine.run", "again/mine.run", "bm25.run"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a Q0 1 1 1.0 x\n")
    no_match = tmp_path / "no-match.txt"  # BM25 finds nothing for the first query
    no_match.write_text("f 0 1 1\n")
    indices = set(stack.es.indices.get_alias(index="*"))
    for arguments, reason in (
        ([index, files[0], files[1], "--qrels", str(other)], "has none of the documents"),
        ([str(folder)], "has no split [test]; it has dev"),
        ([index, *files, "--html", str(tmp_path / "nowhere" / "report.html")], "cannot be written"),
        ([index, *files, "--html", str(tmp_path)], "is a folder"),
        ([index, *files, "--html", "/proc/report.html"], "cannot be written"),
        ([index, *files, "--runs", "/proc/runs"], "cannot be written"),
        ([index, *files, "--runs", str(other)], "is not a folder"),
        ([index, *files, "--rerank"], "ESBLEND_RERANKER"),
        ([index, *files, "--run", str(tmp_path / "no.run")], "cannot be read"),
        ([index, *files, "--run", str(tmp_path / "kNN.run")], "another system is named [kNN]"),
        (
            [index, *files, "--run", str(tmp_path / "mine.run"), "--run", str(tmp_path / "again" / "mine.run")],
            "another system is named [mine]",
        ),
        ([index, *files, "--run", str(tmp_path / "bm25.run"), "--runs", str(tmp_path / "out")], "to bm25.run"),
        ([index, *files[:2], "--qrels", str(no_match), "--rerank"], "ESBLEND_RERANKER"),
        ([str(folder), "--split", "dev", "--rerank"], "ESBLEND_RERANKER"),
        ([index, *files, "--generation", "g9"], "g9"),
        ([index, *files, "--from-titles", "text"], "leave out --qrels"),
        ([index, *files[:2]], "--queries needs --qrels"),
        ([index, *files, "--keep", "kept"], "--keep is for the index of a folder"),
        ([str(folder), "--split", "dev", "--keep", index], "exists with 6 documents, but"),
        ([str(folder), "--from-titles", "title"], "has no [title] of three words"),
    ):
        done = stack.esblend("eval", *arguments)
        assert done.returncode != 0, arguments
        assert reason in " ".join(done.stderr.split()), (arguments, done.stderr)
        assert "Searching" not in done.stderr
        assert "Embedding" not in done.stderr
    assert set(stack.es.indices.get_alias(index="*")) == indices


def test_the_figures_are_printed_before_a_file_fails(
    stack: Stack, index: str, files: list[str], tmp_path: Path
) -> None:
    (tmp_path / "runs" / "bm25.run").mkdir(parents=True)
    done = stack.esblend("eval", index, *files, "--sample", "2", "--runs", str(tmp_path / "runs"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "linear exact" in done.stdout
