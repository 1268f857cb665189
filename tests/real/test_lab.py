"""`esblend eval`, `tune` and `train` on a small collection through the real stack."""

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch.helpers import bulk

from tests.conftest import Stack

TOPICS = {
    "car": ("automobile", "vehicle with an engine and four wheels"), "cat": ("feline", "small animal that purrs and hunts mice"),
    "sea": ("ocean", "salt water between the continents"), "sun": ("star", "bright body in the middle of our planets"),
    "bread": ("loaf", "food of baked flour and yeast"), "king": ("monarch", "ruler with a crown and a throne"),
    "snow": ("frost", "white flakes that fall in winter"), "ship": ("vessel", "large boat that carries goods"),
    "money": ("currency", "coins and notes that people pay with"), "sleep": ("slumber", "rest of body and mind at night"),
    "thief": ("burglar", "person who steals from houses"), "doctor": ("physician", "person who heals the sick"),
    "child": ("infant", "very young human being"), "road": ("highway", "way of asphalt between cities"),
    "stone": ("rock", "hard piece of mineral"), "meal": ("dinner", "food that is eaten in the evening"),
    "tree": ("oak", "tall plant with leaves and a trunk"), "war": ("battle", "armed fight between nations"),
}  # fmt: skip


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR folder: each query uses other words than its answer, and shares one with a wrong document."""
    folder = tmp_path_factory.mktemp("beir") / "small"
    (folder / "qrels").mkdir(parents=True)
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for topic, (synonym, text) in TOPICS.items():
        corpus.append({"_id": topic, "title": synonym, "text": f"A {synonym} is a {text}."})
        corpus.append(
            {"_id": f"not-{topic}", "title": f"The word {topic}", "text": f"How to spell {topic} in a letter."}
        )
        queries.append({"_id": f"q-{topic}", "text": f"what is a {topic}"})
        qrels.append(f"q-{topic}\t{topic}\t1")
    for name, lines in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels))
    return folder


@pytest.fixture(scope="module")
def index(stack: Stack, collection: Path) -> Iterator[str]:
    text = {"type": "text", "analyzer": "english"}
    stack.es.indices.create(index="lab", mappings={"properties": {"title": text, "text": text}})
    lines = [json.loads(line) for line in (collection / "corpus.jsonl").read_text().splitlines()]
    bulk(stack.es, [{"_id": document.pop("_id"), **document} for document in lines], index="lab", refresh=True)
    stack.attach("lab", "title", "text")
    stack.wait("lab")
    yield "lab"
    stack.es.indices.delete(index="lab")


def judgements(collection: Path) -> list[str]:
    return ["--queries", str(collection / "queries.jsonl"), "--qrels", str(collection / "qrels" / "test.tsv")]


def run(stack: Stack, *arguments: str, expect: int = 0) -> dict[str, Any]:
    done = stack.esblend(*arguments, "--json")
    assert done.returncode == expect, done.stderr
    return dict(json.loads(done.stdout))


def test_a_folder_is_evaluated_and_its_index_goes_again(stack: Stack, collection: Path, tmp_path: Path) -> None:
    before = set(stack.es.indices.get_alias(index="*"))
    report, runs = tmp_path / "report.html", tmp_path / "runs"
    completed = run(stack, "eval", str(collection), "--html", str(report), "--runs", str(runs))
    assert set(stack.es.indices.get_alias(index="*")) == before
    systems = completed["systems"]
    assert list(systems) == [
        "BM25", "kNN", "RRF", "linear windowed, minmax", "linear exact, minmax", "linear exact"
    ]  # fmt: skip
    assert systems["kNN"]["nDCG@10"] > systems["BM25"]["nDCG@10"]
    assert systems["linear exact"]["significant"] in (True, False)
    assert set(completed["curve"]) == {str(n / 10) for n in range(11)}
    page = report.read_text()
    assert html.escape(completed["sentence"]) in page
    assert "Elasticsearch " in page
    assert "How to spell car in a letter." in page  # the hits of each query
    assert "http://" not in page.replace(stack.described["gateway"], "").replace("http://www.w3.org/2000/svg", "")
    written = (runs / "linear-exact.run").read_text().splitlines()
    assert written[0].split()[::3] == ["q-car", "1"]
    again = run(stack, "eval", str(collection), "--run", str(runs / "bm25.run"), "--sample", "5")
    assert again["count"] == 5
    assert "bm25" in again["systems"]


def test_an_index_is_evaluated_with_judgements_or_its_titles(stack: Stack, index: str, collection: Path) -> None:
    assert run(stack, "eval", index, *judgements(collection))["weak"] is False
    weak = run(stack, "eval", index, "--from-titles", "title")
    assert weak["weak"] is True
    assert weak["count"] > 10
    assert weak["systems"]["BM25"]["recall@10"] == 1.0
    nothing = stack.esblend("eval", index)
    assert nothing.returncode == 2
    assert "--from-titles" in nothing.stderr


def test_tuning_applies_what_is_better(stack: Stack, index: str, collection: Path) -> None:
    profiles = {"meaning": {"alpha": 1.0}}
    stack.call("PUT", f"/_esblend/indices/{index}/defaults", {"alpha": 0, "profiles": profiles})
    completed = run(stack, "tune", index, *judgements(collection), "--apply")
    assert (completed["recommended"], completed["applied"]) == (True, True)
    defaults = stack.call("GET", f"/_esblend/indices/{index}")["attachment"]["defaults"]
    assert defaults["alpha"] == completed["settings"]["alpha"] > 0
    assert defaults["profiles"] == profiles
    again = stack.esblend("tune", index, *judgements(collection))
    assert again.returncode == 1
    assert "Not recommended" in again.stdout


def test_a_model_is_trained_and_migrated_to(stack: Stack, index: str, collection: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        '["what is a lorry", "A lorry is a truck."]\n["what is a dog", "A dog is an animal that barks."]\n'
    )
    (tmp_path / "data_config.json").write_text('[{"name": "pairs.jsonl", "weight": 1}]')
    options = ["--model", "minilm", "--index", index, "--data-config", str(tmp_path / "data_config.json")]
    limits = ["--epochs", "1", "--batch-size", "4", "--eval-documents", "100"]
    done = stack.run_esblend(
        "train", str(tmp_path / "out"), *options, *judgements(collection), *limits, "--held-back", "0.3", "--json"
    )
    assert done.returncode in (0, 1), done.stderr  # so little to learn from need not help
    printed = json.loads(done.stdout)
    assert (printed["steps"] > 0, 0 < printed["before"] <= 1, 0 < printed["after"] <= 1) == (True, True, True)
    migrated = run(stack, "migrate", index, "--model", printed["model"], "--drop-old")
    assert migrated["switched"] is True


def test_defaults_are_checked(stack: Stack, index: str) -> None:
    from elasticsearch import ApiError

    for defaults, reason in (
        ({"alpha": 2}, "alpha"),
        ({"fields": ["nothing"]}, r"no field \[nothing\]"),
        ({"x": 1}, "unknown key"),
    ):
        with pytest.raises(ApiError, match=reason):
            stack.call("PUT", f"/_esblend/indices/{index}/defaults", defaults)
