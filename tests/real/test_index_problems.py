"""An index whose settings turn against embedding after it was attached: status, doctor, log and metrics say so."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError

from esblend.local.paths import elasticsearch_dir
from esblend.local.ports import FreePorts
from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, kill, process, revive, wait_for
from tests.real.test_feed_index_surgery import position, write
from tests.real.test_metrics import read

SETTINGS: dict[str, dict[str, Any]] = {
    "index.max_result_window": {"index.max_result_window": 50},
    "index.mapping.nested_objects.limit": {"index.mapping.nested_objects.limit": 5},
    "index.blocks.write": {"index.blocks.write": True},
    "index.blocks.read": {"index.blocks.read": True},
    "index.final_pipeline": {"index.final_pipeline": "_none"},
}


@pytest.fixture
def index(fault_stack: Stack, index_name: str) -> Iterator[str]:
    mapping = {"properties": {"body": {"type": "text"}}}
    fault_stack.es.indices.create(index=index_name, mappings=mapping, settings={"number_of_replicas": 0})
    fault_stack.attach(index_name, "body", guard=True)
    fault_stack.es.index(index=index_name, id="0", document={"body": "Whales sing."})
    fault_stack.wait(index_name)
    yield index_name
    revive(fault_stack)
    fault_stack.es.indices.delete(index=index_name)


def status(stack: Stack, index: str) -> dict[str, Any]:
    return stack.call("GET", f"/_esblend/indices/{index}/status")


def test_each_problem_shows_while_nothing_waits(fault_stack: Stack, index: str, tmp_path: Path) -> None:
    stack = fault_stack
    with FreePorts() as ports:
        port = ports.choose(0)
    kill(stack, "feed")
    with process(stack, "esblend", "feed", place=tmp_path, ESBLEND_METRICS_PORT=str(port)):

        def gauge() -> float | None:
            return read(f"http://127.0.0.1:{port}/metrics").get(f'esblend_index_problems{{index="{index}"}}')

        wait_for("no problems", lambda: gauge() == 0)
        for setting, values in SETTINGS.items():
            before = stack.es.indices.get_settings(index=index, flat_settings=True)[index]["settings"].get(setting)
            stack.es.indices.put_settings(index=index, settings=values)
            wait_for(f"the gauge of {setting}", lambda: gauge() == 1)
            if setting != "index.blocks.read":  # then nobody can count its documents
                assert [problem["setting"] for problem in status(stack, index)["problems"]] == [setting]
                card = stack.esblend("status", index).stdout
                assert setting in card
            doctor = json.loads(stack.esblend("doctor", "--json").stdout)
            assert [check["outcome"] for check in doctor if check["name"] == index and setting in check["detail"]] == [
                "failure"
            ]
            stack.es.indices.put_settings(index=index, settings={setting: before})
            wait_for(f"the end of {setting}", lambda: gauge() == 0)
        assert status(stack, index)["problems"] == []
        log = next(tmp_path.glob("ready-*.log")).read_text()
        assert log.count("index has a problem") >= len(SETTINGS)


def test_an_index_that_the_feed_pauses_has_a_lag_and_is_not_covered(
    fault_stack: Stack, index: str, tmp_path: Path
) -> None:
    stack, setting = fault_stack, "index.blocks.write"
    with FreePorts() as ports:
        port = ports.choose(0)
    kill(stack, "feed")
    for number in range(200):
        stack.es.index(index=index, id=str(number), document={"body": f"Text {number}."})
    stack.es.indices.put_settings(index=index, settings=SETTINGS[setting])
    labels = f'{{generation="g1",index="{index}"}}'
    with process(stack, "esblend", "feed", place=tmp_path, ESBLEND_METRICS_PORT=str(port)):
        metrics = f"http://127.0.0.1:{port}/metrics"
        wait_for("the pause", lambda: "no feed" not in (status(stack, index)["paused"] or "no feed"))
        wait_for("the gauge of the pause", lambda: read(metrics).get(f"esblend_paused{labels}") == 1)
        for _ in range(20):
            shown = status(stack, index)
            assert shown["lag_seconds"] > 0
            assert shown["coverage"] < 1
            assert shown["paused"]
            feed = read(metrics)
            assert feed[f"esblend_lag_seconds{labels}"] > 0
            assert feed[f"esblend_paused{labels}"] == 1
        assert "paused: " in stack.esblend("status", index).stdout
        stack.es.indices.put_settings(index=index, settings={setting: None})
        assert_vectors_of_present_texts(stack, index, 200)


def test_a_small_result_window_does_not_stop_the_vectors(fault_stack: Stack, index: str) -> None:
    stack, setting = fault_stack, "index.max_result_window"
    kill(stack, "feed")
    for number in range(200):
        stack.es.index(index=index, id=str(number), document={"body": f"Text {number}."})
    stack.es.indices.put_settings(index=index, settings=SETTINGS[setting])
    revive(stack)
    stack.wait(index)
    assert any(setting in str(problem) for problem in status(stack, index)["problems"])
    verified = stack.esblend("verify", index, "--sample", "0", "--json")
    assert json.loads(verified.stdout)["embedded"] == 200, verified.stderr
    assert json.loads(stack.esblend("advise", index, "--json").stdout)["documents"] == 200
    stack.es.indices.put_settings(index=index, settings={setting: None})
    assert_vectors_of_present_texts(stack, index, 200)
    stack.es.indices.put_settings(index=index, settings=SETTINGS[setting])
    purged = stack.esblend("detach", index, "--purge", "--json")
    assert json.loads(purged.stdout)["purged"] == 200, purged.stderr


def test_a_shard_without_a_primary_pauses_the_index(fault_stack: Stack, index_name: str) -> None:
    """Nothing counts as complete: neither the shard that is away, nor the changes of the others."""
    stack, index, away = fault_stack, f"{index_name}-three", "1"
    stack.es.indices.create(
        index=index,
        mappings={"properties": {"body": {"type": "text"}}},
        settings={"number_of_shards": 3, "number_of_replicas": 0},
    )
    try:
        stack.attach(index, "body")
        write(stack, index, range(30), "at first")
        stack.wait(index)
        before = position(stack, index)
        folder = shard_folder(stack, index, away)
        aside = folder.parents[3] / f"aside-{index}"  # on the same file system, so that files keep their owner
        stack.es.indices.close(index=index)
        folder.rename(aside)
        stack.es.indices.open(index=index, wait_for_active_shards=0)
        wait_for("the other primaries", lambda: started(stack, index) == {"0", "2"})
        changed = [write_unless_away(stack, index, number) for number in range(100, 112)]
        assert any(changed)
        assert not all(changed)
        wait_for("the pause", lambda: "no primary" in (checkpoint(stack, index)["paused_because"] or ""))
        assert checkpoint(stack, index)["pending_since"]
        assert position(stack, index)[away] == before[away]
        with pytest.raises(ApiError, match=rf"shard {away} of \[{index}\] has no primary"):
            status(stack, index)
        shown = json.loads(stack.esblend("doctor", "--json").stdout)
        assert [check["outcome"] for check in shown if check["name"] == index] == ["failure"]
        aside.rename(folder)
        # Elasticsearch remembers that there was no copy.
        command = {"index": index, "shard": int(away), "node": "node-0", "accept_data_loss": True}
        stack.es.cluster.reroute(commands=[{"allocate_stale_primary": command}])
        wait_for("all primaries", lambda: started(stack, index) == {"0", "1", "2"})
        assert_vectors_of_present_texts(stack, index, 30 + sum(changed))
        wait_for("the end of the pause", lambda: status(stack, index)["paused"] is None)
    finally:
        stack.es.indices.delete(index=index)


def shard_folder(stack: Stack, index: str, shard: str) -> Path:
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    return elasticsearch_dir(stack.data_dir) / "node-0" / "data" / "indices" / uuid / shard


def started(stack: Stack, index: str) -> set[str]:
    shards: Any = stack.es.cat.shards(index=index, format="json").body
    return {shard["shard"] for shard in shards if shard["state"] == "STARTED"}


def write_unless_away(stack: Stack, index: str, number: int) -> bool:
    """Whether the document was written: its shard has a primary."""
    try:
        stack.es.index(index=index, id=str(number), document={"body": f"Number {number} is red."}, timeout="100ms")
    except ApiError as error:
        if error.meta.status != 503:
            raise
        return False
    return True


def checkpoint(stack: Stack, index: str) -> dict[str, Any]:
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    return dict(stack.es.get(index="esblend-checkpoints", id=f"{uuid}-g1")["_source"])


def test_a_closed_index_does_not_hide_the_status_of_the_others(fault_stack: Stack, index: str) -> None:
    other = f"{index}-open"
    fault_stack.es.indices.create(index=other, mappings={"properties": {"body": {"type": "text"}}})
    fault_stack.attach(other, "body")
    fault_stack.es.indices.close(index=index)
    shown = {card["index"]: card for card in json.loads(fault_stack.esblend("status", "--json").stdout)}
    assert "closed" in shown[index]["error"]
    assert shown[other]["coverage"] == 1
    assert "unknown: " in fault_stack.esblend("status").stdout
    fault_stack.es.indices.open(index=index)
    fault_stack.es.indices.delete(index=other)
