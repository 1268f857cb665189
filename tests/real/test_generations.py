"""A new model is added, takes over, is rolled back, and the old one is removed; searches never mix them."""

import itertools
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch

from esblend.encoder.folder import find_model
from tests.conftest import ESBLEND, Stack
from tests.real.faults import wait_for, with_vectors

TEXTS = [f"Article {n} about {topic}." for n, topic in enumerate(["whales", "bread", "rockets", "rivers"] * 10)]


@pytest.fixture
def wide_model(tmp_path: Path) -> str:
    """Another model: the packaged one with two poolings, whose vectors are twice as wide. To mix the two is an error."""
    folder = Path(shutil.copytree(find_model("minilm").path, tmp_path / "wide"))
    pooling = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return str(folder)


@pytest.fixture
def index(stack: Stack, make_index: Callable[..., str]) -> str:
    name = make_index(*({"body": text} for text in TEXTS))
    stack.attach(name, "body")
    stack.wait(name)
    return name


def generations(stack: Stack, index: str) -> dict[str, Any]:
    described: dict[str, Any] = stack.call("GET", f"/_esblend/indices/{index}/generations")["generations"]
    return described


def covered(stack: Stack, index: str, generation: str) -> Callable[[], bool]:
    return lambda: generations(stack, index)[generation]["missing"] == 0


def vectors_held(stack: Stack, index: str) -> set[str]:
    hits = stack.es.search(index=index, size=1000, source_includes=["esblend.*.fingerprint"])["hits"]["hits"]
    return {generation for hit in hits for generation in hit["_source"].get("esblend", {})}


def test_a_migration_under_reads_and_writes(stack: Stack, index: str, wide_model: str) -> None:
    stop = threading.Event()
    failures: list[str] = []
    answered = itertools.count()

    def read() -> None:
        with Elasticsearch(stack.described["gateway"], request_timeout=60) as client:
            while not stop.is_set():
                answer = client.search(index=index, query={"hybrid": {"query": "large animals of the sea"}}, size=5)
                if "esblend" in answer.body or len(answer["hits"]["hits"]) != 5:
                    failures.append(str(answer.body.get("esblend")))
                next(answered)

    def write() -> None:
        for n in itertools.cycle(range(len(TEXTS))):
            if stop.wait(0.02):
                return
            stack.es.update(index=index, id=str(n), doc={"body": f"{TEXTS[n]} Again."})

    def reading() -> None:
        try:
            read()
        except Exception as error:  # a failed search is what this test looks for
            failures.append(repr(error))

    threads = [threading.Thread(target=reading), threading.Thread(target=write)]
    for thread in threads:
        thread.start()
    try:
        done = stack.esblend("migrate", index, "--model", wide_model, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["switched"] is True
        back = stack.esblend("migrate", index, "--roll-back", "--json")
        assert json.loads(back.stdout)["generation"] == "g1"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert next(answered) > 10
    again = stack.esblend("migrate", index, "--model", wide_model, "--drop-old", "--json")
    assert json.loads(again.stdout)["dropped"] == ["g1"]
    status = stack.wait(index)
    assert list(status["generations"]) == ["g2"]
    assert status["generations"]["g2"]["dims"] == 768
    assert vectors_held(stack, index) == {"g2"}
    verified = stack.esblend("verify", index, "--json")
    assert verified.returncode == 0, verified.stdout


def test_a_migration_that_was_killed_goes_on(stack: Stack, index: str, wide_model: str) -> None:
    stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": True})
    command = [*ESBLEND, "migrate", index, "--model", wide_model, "--data-dir", str(stack.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        wait_for("g2", lambda: "g2" in generations(stack, index))
        started.kill()
    stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": False})
    again = stack.esblend("migrate", index, "--model", wide_model, "--json")
    assert json.loads(again.stdout) | {"switched": True} == json.loads(again.stdout)
    assert list(generations(stack, index)) == ["g1", "g2"]


def test_new_documents_get_both_while_a_migration_runs(stack: Stack, index: str, wide_model: str) -> None:
    stack.call("POST", f"/_esblend/indices/{index}/generations", {"model": wide_model})
    wait_for("covered", covered(stack, index, "g2"))
    stack.es.index(index=index, id="new", document={"body": "A new text."}, refresh=True)
    wait_for("both", lambda: all(covered(stack, index, generation)() for generation in ("g1", "g2")))
    source = with_vectors(stack, index, "new")["esblend"]
    assert [len(source[generation]["passages"][0]["vector"]) for generation in ("g1", "g2")] == [384, 768]


def test_the_same_call_again_changes_nothing_and_a_third_is_refused(stack: Stack, index: str) -> None:
    path = f"/_esblend/indices/{index}/generations"
    first = stack.call("POST", path, {"passages": {"max_tokens": 64}})
    assert (first["generation"], first["changed"]) == ("g2", True)
    again = stack.call("POST", path, {"passages": {"max_tokens": 64}})
    assert (again["generation"], again["changed"]) == ("g2", False)
    with pytest.raises(ApiError, match="already has another generation"):
        stack.call("POST", path, {"passages": {"max_tokens": 32}})


def test_what_is_not_covered_or_active_is_refused(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "a"})
    stack.attach(index, "body")
    stack.wait(index)
    stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": True})
    path = f"/_esblend/indices/{index}/generations"
    stack.call("POST", path, {"passages": {"max_tokens": 64}})
    with pytest.raises(ApiError, match=r"1 documents .* have no vectors of generation \[g2\]"):
        stack.call("POST", f"{path}/g2/_activate")
    with pytest.raises(ApiError, match=r"no generation is called \[g9\]"):
        stack.call("POST", f"{path}/g9/_activate")
    with pytest.raises(ApiError, match="is active"):
        stack.call("DELETE", f"{path}/g1")


def test_a_generation_can_be_searched_before_it_is_active(stack: Stack, index: str, wide_model: str) -> None:
    stack.call("POST", f"/_esblend/indices/{index}/generations", {"model": wide_model})
    wait_for("covered", covered(stack, index, "g2"))
    body = {
        "query": {"hybrid": {"query": "whales", "alpha": 1, "normalizer": "raw_dot", "generation": "g2"}},
        "explain": True,
    }
    of_new = stack.gateway.search(index=index, body=body)["hits"]["hits"][0]["_score"]
    del body["query"]["hybrid"]["generation"]  # type: ignore[index]
    assert of_new != stack.gateway.search(index=index, body=body)["hits"]["hits"][0]["_score"]


def test_a_guard_knows_the_new_generation_too(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "An old text."})
    stack.attach(index, "body", guard=True)
    stack.wait(index)
    stack.call("POST", f"/_esblend/indices/{index}/generations", {"passages": {"max_tokens": 64}})
    wait_for("covered", covered(stack, index, "g2"))
    pipeline = stack.es.ingest.get_pipeline(id=f"esblend-guard-{index}").body
    assert '"g2"' in json.dumps(pipeline)
    stack.wait(index)
    assert stack.esblend("verify", index, "--json").returncode == 0
