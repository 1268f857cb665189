"""A document that cannot be embedded affects no others, has a limited number of attempts, and can be handled."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Stack
from tests.real.faults import kill, process, revive, vectors_by_id, wait_for

POISONS = ["RAISES", "GIVES-NAN", "GIVES-ZERO", "GIVES-INFINITY"]


@pytest.fixture(scope="module")
def poisoned(fault_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack with a worker whose encoder fails on marked texts."""
    folder = tmp_path_factory.mktemp("poisoned")
    kill(fault_stack, "worker")
    with process(fault_stack, "tests.real.poisoned_worker", place=folder, ESBLEND_EMBEDDING_CACHE_MB="0"):
        yield fault_stack
    revive(fault_stack)


@pytest.fixture
def index(poisoned: Stack, index_name: str) -> Iterator[str]:
    mapping = {"properties": {"body": {"type": "text"}}}
    poisoned.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    poisoned.attach(index_name, "body")
    yield index_name
    poisoned.es.indices.delete(index=index_name)


def fill(stack: Stack, index: str, texts: dict[str, str]) -> dict[str, Any]:
    operations: list[dict[str, Any]] = []
    for id_, text in texts.items():
        operations += [{"index": {"_id": id_}}, {"body": text}]
    assert not stack.es.bulk(index=index, operations=operations, refresh=True)["errors"]
    return stack.wait(index)


def letters(stack: Stack, index: str) -> dict[str, dict[str, Any]]:
    dead_letters = stack.call("GET", "/_esblend/dead-letters", index=index)["dead_letters"]
    return {letter["id"]: letter for letter in dead_letters}


def test_poison_of_any_kind_stands_alone(poisoned: Stack, index: str) -> None:
    texts = {f"good-{number}": f"a harmless text, number {number}" for number in range(60)}
    texts |= {poison: f"a text that {poison} when it is embedded" for poison in POISONS}
    status = fill(poisoned, index, texts)
    assert (status["embedded"], status["dead_letters"]) == (60, len(POISONS))
    assert status["coverage"] == pytest.approx(60 / (60 + len(POISONS)), abs=1e-6)
    dead_letters = letters(poisoned, index)
    assert sorted(dead_letters) == sorted(POISONS)
    assert dead_letters["RAISES"]["error"] == "RuntimeError in the encoder"
    assert "NaN, infinite or zero" in dead_letters["GIVES-NAN"]["error"]
    assert not any("harmless" in letter["error"] for letter in dead_letters.values())
    vectors = vectors_by_id(poisoned, index)
    assert all(len(vectors[id_][1]) == (0 if id_ in POISONS else 1) for id_ in texts)


def test_a_document_that_kills_its_worker_is_tried_so_often_and_no_more(poisoned: Stack, index: str) -> None:
    texts = {f"good-{number}": f"a harmless text, number {number}" for number in range(40)}
    status = fill(poisoned, index, texts | {"deadly": "a text that KILLS-THE-PROCESS each time"})
    assert (status["embedded"], status["dead_letters"]) == (40, 1)
    assert letters(poisoned, index)["deadly"]["error"] == "its worker died 4 times while embedding it"
    assert letters(poisoned, index)["deadly"]["attempts"] == 4
    status = fill(poisoned, index, {"deadly": "a good text that gets new attempts"})
    assert (status["embedded"], status["dead_letters"]) == (41, 0)


def test_the_old_vector_of_a_dead_letter_is_gone_and_a_good_text_heals_it(poisoned: Stack, index: str) -> None:
    fill(poisoned, index, {"a": "a good text"})
    assert len(vectors_by_id(poisoned, index)["a"][1]) == 1
    fill(poisoned, index, {"a": "a text that RAISES"})
    poisoned.es.update(index=index, id="a", doc={"body": "still one that RAISES"}, refresh=True)
    poisoned.wait(index)
    assert vectors_by_id(poisoned, index)["a"][1] == []
    assert list(letters(poisoned, index)) == ["a"]
    fill(poisoned, index, {"a": "good again"})
    assert letters(poisoned, index) == {}


def test_a_letter_that_cannot_be_deleted_is_deleted_later(poisoned: Stack, index: str) -> None:
    """The document has its vector meanwhile, and the index is paused."""
    fill(poisoned, index, {"a": "a text that RAISES"})
    block = "esblend-dead-letters"
    poisoned.es.indices.put_settings(index=block, settings={"index.blocks.write": True})
    try:
        poisoned.es.index(index=index, id="a", document={"body": "good again"}, refresh=True)
        wait_for("the vector", lambda: vectors_by_id(poisoned, index)["a"][1])
        wait_for("a pause", lambda: poisoned.call("GET", f"/_esblend/indices/{index}/status")["paused"])
        assert list(letters(poisoned, index)) == ["a"]
    finally:
        poisoned.es.indices.put_settings(index=block, settings={"index.blocks.write": None})
    wait_for("the end of the letter", lambda: letters(poisoned, index) == {})


def test_letters_are_listed_shown_retried_and_dropped(poisoned: Stack, index: str) -> None:
    fill(poisoned, index, {"a": "this RAISES", "b": "this RAISES too"})
    listed = json.loads(poisoned.esblend("dead-letters", "list", index, "--json").stdout)
    assert (listed["total"], {letter["id"] for letter in listed["dead_letters"]}) == (2, {"a", "b"})
    shown = json.loads(poisoned.esblend("dead-letters", "show", index, "a", "--json").stdout)
    assert shown["attempts"] == 1
    first = letters(poisoned, index)["a"]["time"]
    again = poisoned.esblend("dead-letters", "retry", index, "--id", "a", "--json")
    assert json.loads(again.stdout)["dead_letters"] == 1
    wait_for("another try", lambda: letters(poisoned, index)["a"]["time"] > first)
    waited = poisoned.esblend("status", index, "--wait", "600")
    assert waited.returncode == 4, "two documents lack their vectors, and waiting does not help"
    assert "0.0 %" in waited.stdout
    assert f"esblend dead-letters list {index}" in waited.stderr
    assert poisoned.esblend("dead-letters", "drop", index).returncode == 0
    wait_for("the letters to go", lambda: letters(poisoned, index) == {})
    status = poisoned.wait(index)
    assert (status["dropped"], status["dead_letters"], status["coverage"]) == (2, 0, 1.0)
    assert poisoned.esblend("verify", index).returncode == 0


def test_an_index_must_be_named(poisoned: Stack) -> None:
    refused = poisoned.esblend("dead-letters", "retry")
    assert refused.returncode == 2
    assert "--all" in refused.stderr
