"""`esblend verify`, `doctor` and `backfill` report faults, repair them, and set their exit codes."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from indexer.feed.checkpoints import CHECKPOINTS_INDEX, checkpoint_id
from tests.conftest import Stack
from tests.real.faults import wait_for


def verify(stack: Stack, index: str, *options: str) -> tuple[int, dict[str, Any]]:
    done = stack.esblend("verify", index, "--json", *options)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def index(stack: Stack, make_index: Callable[..., str]) -> str:
    name = make_index(*({"body": f"document number {number} of some"} for number in range(12)))
    stack.attach(name, "body")
    stack.wait(name)
    return name


def spoil(stack: Stack, index: str, id_: str, **changes: Any) -> None:
    """Write over what esblend keeps in a document, as a faulty program might."""
    stack.es.update(index=index, id=id_, doc={"esblend": {"g1": changes}})


def test_a_covered_index_is_clean(stack: Stack, index: str) -> None:
    code, report = verify(stack, index)
    assert (code, report["clean"]) == (0, True)
    assert (report["documents"], report["embedded"], report["recomputed"]) == (12, 12, 12)


def test_every_kind_of_fault_is_found_and_repaired(stack: Stack, index: str) -> None:
    right = stack.es.search(index=index, query={"ids": {"values": ["9"]}}, source={"exclude_vectors": False})  # type: ignore[arg-type]
    passage = right["hits"]["hits"][0]["_source"]["esblend"]["g1"]["passages"][0]
    other = np.roll(np.array(passage["vector"]), 1).tolist()
    stack.call("POST", f"/_esblend/indices/{index}/backfill", {"paused": True})
    spoil(stack, index, "0", passages=[])
    spoil(stack, index, "1", passages=[{**passage, "vector": other}])
    spoil(stack, index, "2", passages=[{**passage, "end": passage["end"] - 3}])
    stack.es.update(index=index, id="3", doc={"esblend": {"g7": {"fingerprint": "of another time"}}})
    stack.wait(index)
    code, report = verify(stack, index)
    assert code == 1
    faults = {name: count for name, count in report["faults"].items() if count}
    assert faults == {"wrong_vector": 1, "wrong_passages": 1, "orphaned": 1}, "the feed mends what is missing"
    assert report["examples"]["wrong_vector"] == ["1"]
    assert verify(stack, index, "--repair")[0] == 0
    stack.wait(index)
    code, report = verify(stack, index)
    assert (code, report["clean"]) == (0, True)


def test_an_index_without_attachment_cannot_be_verified(stack: Stack, make_index: Callable[..., str]) -> None:
    refused = stack.esblend("verify", make_index())
    assert refused.returncode == 1
    assert "is not attached" in refused.stderr


def test_a_backfill_is_paused_slowed_down_and_resumed(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(*({"body": f"old text {number}"} for number in range(60)))
    stack.attach(index, "body")
    assert stack.esblend("backfill", index, "--pause", "--rate", "5").returncode == 0
    shown = json.loads(stack.esblend("backfill", index, "--json").stdout)
    assert (shown["paused"], shown["documents_per_second"]) == (True, 5.0)
    # Changes before the feed follows the index belong to the backfill.
    wait_for("the feed", lambda: has_position(stack, index))
    stack.es.index(index=index, id="live", document={"body": "a live change overtakes"})
    wait_for("the live change", lambda: has_vectors(stack, index, "live"))
    assert stack.esblend("backfill", index, "--resume", "--rate", "0").returncode == 0
    assert stack.wait(index)["embedded"] == 61
    wait_for("the end of the backfill", lambda: "done" in stack.esblend("backfill", index).stdout)


def has_position(stack: Stack, index: str) -> bool:
    """Whether the feed has saved where the live changes of the index begin."""
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    stored = stack.es.options(ignore_status=404).get(index=CHECKPOINTS_INDEX, id=checkpoint_id(uuid, "g1"))
    return bool(stored.get("found") and stored["_source"].get("shards"))


def has_vectors(stack: Stack, index: str, id_: str) -> bool:
    return "esblend" in stack.es.get(index=index, id=id_)["_source"]


def test_a_wrong_rate_is_named(stack: Stack, index: str) -> None:
    refused = stack.esblend("backfill", index, "--rate", "-1")
    assert refused.returncode == 2


def test_the_doctor_finds_a_guard_that_was_taken_off(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index()
    stack.attach(index, "body", guard=True)
    well = stack.esblend("doctor", "--json")
    assert well.returncode == 0, well.stdout
    assert {check["name"]: check["outcome"] for check in json.loads(well.stdout)}[index] == "ok"
    stack.es.indices.put_settings(index=index, settings={"index.final_pipeline": "_none"})
    ill = stack.esblend("doctor", "--json")
    assert ill.returncode == 1
    [check] = [check for check in json.loads(ill.stdout) if check["outcome"] == "failure"]
    assert check["name"] == index
    assert f"esblend attach {index} --restore" in check["advice"]


def test_parents_and_children_are_embedded_where_they_lie(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index(
        properties={"body": {"type": "text"}, "relation": {"type": "join", "relations": {"question": "answer"}}}
    )
    stack.attach(index, "body")
    stack.es.index(index=index, id="q", document={"body": "a question", "relation": "question"})
    for number in range(3):
        answer = {"body": f"answer {number}", "relation": {"name": "answer", "parent": "q"}}
        stack.es.index(index=index, id=f"a{number}", routing="q", document=answer)
    assert stack.wait(index)["embedded"] == 4
    assert verify(stack, index)[0] == 0
