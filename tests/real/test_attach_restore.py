"""Overwritten attachments are reported and restored; of simultaneous attach calls one wins; clones get guards."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError, Elasticsearch, NotFoundError

from mappings.attachment import Attachment
from mappings.builder import is_claim_conflict, second_claim
from tests.conftest import Stack
from tests.real.faults import log_lines, wait_for, with_vectors


def final_pipeline(stack: Stack, index: str) -> str | None:
    settings = stack.es.indices.get_settings(index=index, flat_settings=True)[index]["settings"]
    name: str | None = settings.get("index.final_pipeline")
    return name


def copy_exists(stack: Stack, index: str) -> bool:
    uuid = stack.es.indices.get_settings(index=index, flat_settings=True)[index]["settings"]["index.uuid"]
    return bool(stack.es.exists(index="esblend-checkpoints", id=f"attachment-{uuid}"))


def overwrite_meta(stack: Stack, index: str) -> None:
    stack.es.indices.put_mapping(index=index, meta={"owner": "team"})


def set_own_pipeline(stack: Stack) -> str:
    stack.es.ingest.put_pipeline(id="own-final", processors=[{"set": {"field": "seen", "value": True}}])
    return "own-final"


@pytest.fixture
def guarded(stack: Stack, make_index: Callable[..., str]) -> str:
    index = make_index(
        {"body": "Whales sing."}, {"body": "Bread is baked."}, **{"final_pipeline": set_own_pipeline(stack)}
    )
    stack.attach(index, "body", guard=True, defaults={"alpha": 0.7})
    stack.wait(index)
    wait_for("a copy of the attachment", lambda: copy_exists(stack, index))
    return index


def test_an_overwritten_attachment_is_reported_and_restored(stack: Stack, guarded: str) -> None:
    before = stack.call("GET", f"/_esblend/indices/{guarded}")["attachment"]
    vectors = with_vectors(stack, guarded, "0")
    sequence_number = stack.es.get(index=guarded, id="0")["_seq_no"]
    overwrite_meta(stack, guarded)
    with pytest.raises(NotFoundError, match=r"has lost its attachment.*_restore"):
        stack.call("GET", f"/_esblend/indices/{guarded}/status")
    refused = stack.esblend("status", guarded)
    assert f"esblend attach {guarded} --restore" in " ".join(refused.stderr.split())
    doctor = stack.esblend("doctor", "--json")
    assert f"esblend attach {guarded} --restore" in doctor.stdout
    listed = {card["index"]: card for card in json.loads(stack.esblend("status", "--json").stdout)}
    assert "has lost its attachment" in listed[guarded]["error"]
    wait_for("the feed's report", lambda: any("attachment lost" in line for line in log_lines(stack, "feed")))
    restored = stack.esblend("attach", guarded, "--restore")
    assert "Restored" in restored.stdout, restored.stderr
    assert stack.call("GET", f"/_esblend/indices/{guarded}")["attachment"] == before
    mapping = stack.es.indices.get_mapping(index=guarded)[guarded]["mappings"]
    assert mapping["_meta"]["owner"] == "team"
    stack.es.index(index=guarded, id="new", document={"body": "Rockets fly."})
    assert stack.wait(guarded)["embedded"] == 3
    assert stack.es.get(index=guarded, id="0")["_seq_no"] == sequence_number
    assert with_vectors(stack, guarded, "0") == vectors
    assert stack.esblend("verify", guarded, "--json").returncode == 0
    assert final_pipeline(stack, guarded) == f"esblend-guard-{guarded}"
    stack.call("DELETE", f"/_esblend/indices/{guarded}")
    assert final_pipeline(stack, guarded) == "own-final"
    wait_for("the copy is deleted", lambda: not copy_exists(stack, guarded))


def test_an_overwritten_attachment_can_be_detached_or_replaced(stack: Stack, guarded: str) -> None:
    overwrite_meta(stack, guarded)
    again = stack.attach(guarded, "body", guard=True)
    assert again["attachment"]["final_pipeline_before"] == "own-final"
    overwrite_meta(stack, guarded)
    stack.call("DELETE", f"/_esblend/indices/{guarded}")
    assert final_pipeline(stack, guarded) == "own-final"
    with pytest.raises(NotFoundError, match="is not attached"):
        stack.call("POST", f"/_esblend/indices/{guarded}/_restore")


VALUES: dict[str, Any] = {
    "null": None, "an empty object": {}, "a string": "yes", "a list": [], "a part of it": {"generations": {}},
}  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_another_value_in_place_of_the_attachment(stack: Stack, make_index: Callable[..., str], value: str) -> None:
    index = make_index({"body": "Whales sing."})
    stack.attach(index, "body")
    stack.wait(index)
    wait_for("a copy of the attachment", lambda: copy_exists(stack, index))
    number = stack.es.get(index=index, id="0")["_seq_no"]
    stack.es.indices.put_mapping(index=index, meta={"esblend": VALUES[value]})
    assert f"esblend attach {index} --restore" in stack.esblend("doctor", "--json").stdout
    assert stack.esblend("attach", index, "--restore").returncode == 0
    stack.es.index(index=index, id="new", document={"body": "Rockets fly."})
    assert stack.wait(index)["embedded"] == 2
    assert stack.es.get(index=index, id="0")["_seq_no"] == number


@pytest.mark.parametrize("meta", [{}, {"esblend": {"source_fields": ["body"]}}], ids=["gone", "a request"])
def test_the_same_attach_call_keeps_the_vectors(
    stack: Stack, make_index: Callable[..., str], meta: dict[str, Any]
) -> None:
    index = make_index({"body": "Whales sing."})
    before = stack.attach(index, "body")["attachment"]
    stack.wait(index)
    number = stack.es.get(index=index, id="0")["_seq_no"]
    stack.es.indices.put_mapping(index=index, meta=meta)
    if meta:  # a worker attaches the index as its mapping requests
        attached = {"_meta": {"esblend": before}}.items()
        wait_for(
            "the attachment",
            lambda: attached <= stack.es.indices.get_mapping(index=index)[index]["mappings"].items(),
        )
    else:
        assert stack.attach(index, "body")["attachment"] == before
    stack.es.index(index=index, id="new", document={"body": "Rockets fly."})
    assert stack.wait(index)["embedded"] == 2
    assert stack.es.get(index=index, id="0")["_seq_no"] == number


def test_a_reindexed_copy_never_had_an_attachment(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index({"body": "Whales sing."})
    copy = f"{index}-copy"
    stack.attach(index, "body")
    stack.wait(index)
    stack.es.indices.create(index=copy, mappings={"properties": {"body": {"type": "text"}}})
    try:
        stack.es.reindex(source={"index": index}, dest={"index": copy}, refresh=True)
        with pytest.raises(NotFoundError, match="is not attached"):
            stack.call("GET", f"/_esblend/indices/{copy}/status")
        assert copy not in stack.esblend("doctor", "--json").stdout
        stack.attach(copy, "body")
        assert stack.wait(copy)["embedded"] == 1
        assert stack.esblend("verify", copy, "--repair", "--json").returncode == 0
        assert stack.esblend("verify", copy, "--json").returncode == 0
    finally:
        stack.es.indices.delete(index=copy)


def test_a_changed_pipeline_of_the_guard_is_reported_and_restored(stack: Stack, guarded: str) -> None:
    stack.es.ingest.put_pipeline(id=f"esblend-guard-{guarded}", processors=[])
    [problem] = stack.call("GET", f"/_esblend/indices/{guarded}/status")["problems"]
    assert "another client has changed its ingest pipeline" in problem["detail"]
    assert f"esblend attach {guarded} --restore" in stack.esblend("doctor", "--json").stdout
    wait_for(
        "the feed's report", lambda: any("has changed its ingest" in line for line in log_lines(stack, "feed")), 90
    )
    stack.call("POST", f"/_esblend/indices/{guarded}/_restore")
    assert stack.call("GET", f"/_esblend/indices/{guarded}/status")["problems"] == []
    stack.es.index(index=guarded, id="n", document={"body": "x"})
    assert stack.es.get(index=guarded, id="n")["_source"]["seen"] is True


def test_a_final_pipeline_that_the_owner_sets_later_is_kept(stack: Stack, guarded: str) -> None:
    stack.es.ingest.put_pipeline(id="newer-final", processors=[{"set": {"field": "newer", "value": True}}])
    stack.es.indices.put_settings(index=guarded, settings={"index.final_pipeline": "newer-final"})
    stack.call("POST", f"/_esblend/indices/{guarded}/_restore")
    assert final_pipeline(stack, guarded) == f"esblend-guard-{guarded}"
    stack.es.index(index=guarded, id="n", document={"body": "x"})
    assert stack.es.get(index=guarded, id="n")["_source"]["newer"] is True
    stack.es.indices.put_settings(index=guarded, settings={"index.final_pipeline": "newer-final"})
    stack.call("DELETE", f"/_esblend/indices/{guarded}")
    assert final_pipeline(stack, guarded) == "newer-final"


def test_a_clone_of_a_guarded_index(stack: Stack, guarded: str) -> None:
    clone = f"{guarded}-clone"
    stack.es.indices.put_settings(index=guarded, settings={"index.blocks.write": True})
    stack.es.indices.clone(index=guarded, target=clone, settings={"index.blocks.write": None}, wait_for_active_shards=1)
    try:
        stack.es.indices.put_settings(index=guarded, settings={"index.blocks.write": None})
        advice = stack.esblend("doctor", "--json").stdout
        assert f"esblend attach {clone} --restore" in advice
        stack.call("DELETE", f"/_esblend/indices/{guarded}")
        assert final_pipeline(stack, guarded) == "own-final"
        stack.es.index(index=clone, id="a", document={"body": "Writes work."})
        assert stack.esblend("attach", clone, "--restore").returncode == 0
        assert final_pipeline(stack, clone) == f"esblend-guard-{clone}"
        assert not stack.es.ingest.get_pipeline(id=f"esblend-guard-{guarded}*").body.keys() - {f"esblend-guard-{clone}"}
        stack.es.index(index=clone, id="b", document={"body": "Writes still work."})
        assert stack.es.get(index=clone, id="b")["_source"]["seen"] is True
        assert stack.wait(clone)["embedded"] == 4
        assert f"[{clone}]" not in stack.esblend("doctor", "--json").stdout
        stack.call("DELETE", f"/_esblend/indices/{clone}")
        assert final_pipeline(stack, clone) == "own-final"
    finally:
        stack.es.indices.delete(index=clone)


def attach_at_once(stack: Stack, index: str, *, guard: bool) -> list[int]:
    """The status of each of six simultaneous attach calls with different settings."""
    answers: list[int] = []
    start = threading.Barrier(6)

    def attach(options: dict[str, Any]) -> None:
        with Elasticsearch(stack.described["gateway"], request_timeout=60) as client:
            start.wait()
            try:
                headers = {"accept": "application/json", "content-type": "application/json"}
                body = {"source_fields": ["body"], "guard": guard, **options}
                client.perform_request("PUT", f"/_esblend/indices/{index}", headers=headers, body=body)
                answers.append(200)
            except ApiError as error:
                answers.append(error.meta.status)

    choices: list[dict[str, Any]] = [{"defaults": {"alpha": number / 10}} for number in range(1, 7)]
    threads = [threading.Thread(target=attach, args=[choice]) for choice in choices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("guard", [False, True])
def test_of_two_simultaneous_attach_calls_one_wins(stack: Stack, make_index: Callable[..., str], guard: bool) -> None:
    index = make_index()
    answers = attach_at_once(stack, index, guard=guard)
    assert answers.count(200) == 1, answers
    assert set(answers) <= {200, 400, 409}, answers
    attachment = stack.call("GET", f"/_esblend/indices/{index}")["attachment"]
    assert list(attachment["generations"]) == ["g1"]
    assert (final_pipeline(stack, index) == f"esblend-guard-{index}") is guard


def test_of_simultaneous_attach_calls_after_a_loss_one_wins(stack: Stack, make_index: Callable[..., str]) -> None:
    """One of them has the settings of the lost attachment, so it adds no generation."""
    index = make_index()
    first = stack.attach(index, "body", defaults={"alpha": 0.1})["attachment"]
    mapping = stack.es.indices.get_mapping(index=index)[index]["mappings"]
    overwrite_meta(stack, index)
    answers = attach_at_once(stack, index, guard=False)
    assert answers.count(200) == 1, answers
    assert set(answers) <= {200, 400, 409}, answers
    # Elasticsearch decides, whatever the order of events.
    overwrite_meta(stack, index)
    lost = stack.es.indices.get_mapping(index=index)[index]["mappings"]
    restored = Attachment.model_validate(first)
    other = restored.model_copy(update={"source_fields": ["title"]})
    assert second_claim(restored, mapping) == {}
    stack.es.indices.put_mapping(index=index, properties=second_claim(restored, lost))
    stack.es.indices.put_mapping(index=index, properties=second_claim(restored, lost))
    with pytest.raises(BadRequestError) as caught:
        stack.es.indices.put_mapping(index=index, properties=second_claim(other, lost))
    assert is_claim_conflict(str(caught.value))


def test_the_same_attach_call_may_be_sent_twice_at_once(stack: Stack, make_index: Callable[..., str]) -> None:
    index = make_index()
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(stack.attach(index, "body"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(result == results[0] for result in results)
