"""Restored, shrunk, split and cloned indices: every document ends with the vector of its text."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, wait_for


def write(stack: Stack, index: str, ids: range, words: str) -> None:
    operations: list[dict[str, Any]] = []
    for number in ids:
        operations += [{"index": {"_id": str(number)}}, {"body": f"Document {number} says {words}."}]
    assert not stack.es.bulk(index=index, operations=operations, refresh=True)["errors"]


def position(stack: Stack, index: str) -> dict[str, Any]:
    """The shards of the index's checkpoint."""
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    return dict(stack.es.get(index="esblend-checkpoints", id=f"{uuid}-g1")["_source"]["shards"])


@pytest.fixture
def snapshot(stack: Stack, index_name: str, make_index: Callable[..., str]) -> Callable[[], Callable[[], None]]:
    """Takes a snapshot of the index; the result restores it over the closed index."""

    def take() -> Callable[[], None]:
        location = {"location": index_name, "readonly": False}
        stack.es.snapshot.create_repository(name=index_name, repository={"type": "fs", "settings": location})
        stack.es.snapshot.create(
            repository=index_name,
            snapshot="s",
            indices=index_name,
            include_global_state=False,
            wait_for_completion=True,
        )

        def restore() -> None:
            stack.es.indices.close(index=index_name)
            stack.es.snapshot.restore(
                repository=index_name,
                snapshot="s",
                indices=index_name,
                include_global_state=False,
                wait_for_completion=True,
            )

        return restore

    return take


def test_a_restored_snapshot_begins_a_new_history(
    stack: Stack, make_index: Callable[..., str], snapshot: Callable[[], Callable[[], None]]
) -> None:
    index = make_index(number_of_shards=2)
    stack.attach(index, "body")
    write(stack, index, range(40), "at first")
    stack.wait(index)
    restore = snapshot()
    write(stack, index, range(40, 140), "what the restore takes away")
    stack.wait(index)
    before = position(stack, index)
    restore()
    wait_for("the new history", lambda: position(stack, index)["0"]["history"] != before["0"]["history"])
    stack.es.update(index=index, id="1", doc={"body": "A partial update keeps the old vector."})
    write(stack, index, range(40, 45), "something new")
    assert_vectors_of_present_texts(stack, index, 45)
    after = position(stack, index)
    assert all(after[shard]["live"] < before[shard]["live"] for shard in before)


def test_changes_written_before_the_feed_sees_the_new_history_are_not_skipped(
    stack: Stack, make_index: Callable[..., str], snapshot: Callable[[], Callable[[], None]]
) -> None:
    index = make_index(number_of_shards=1)
    stack.attach(index, "body")
    write(stack, index, range(10), "at first")
    stack.wait(index)
    restore = snapshot()
    write(stack, index, range(10, 30), "what the restore takes away")
    stack.wait(index)
    restore()
    stack.es.update(index=index, id="1", doc={"body": "Written directly after the restore."})
    assert_vectors_of_present_texts(stack, index, 10)


@pytest.mark.parametrize("rate", [6.0, None])
def test_repeated_sequence_numbers_of_a_shrunk_index(
    stack: Stack, make_index: Callable[..., str], rate: float | None
) -> None:
    index = make_index(number_of_shards=8)
    write(stack, index, range(40), "before the shrink")
    for number in (3, 7):
        stack.es.delete(index=index, id=str(number))
    small = f"{index}-small"
    resized(stack, "shrink", index, small, 1)
    try:
        stack.attach(small, "body")
        if rate:
            stack.call("POST", f"/_esblend/indices/{small}/backfill", {"documents_per_second": rate})
        assert_vectors_of_present_texts(stack, small, 38)
    finally:
        stack.es.indices.delete(index=small)


@pytest.mark.parametrize(("how", "shards"), [("shrink", 2), ("split", 8), ("clone", 4)])
def test_resized_attached_indices_keep_their_vectors(
    stack: Stack, make_index: Callable[..., str], how: str, shards: int
) -> None:
    index = make_index(number_of_shards=4)
    stack.attach(index, "body")
    write(stack, index, range(30), "before")
    stack.wait(index)
    write(stack, index, range(5), "again")
    stack.es.delete(index=index, id="9")
    target = f"{index}-{how}"
    resized(stack, how, index, target, shards)
    try:
        write(stack, target, range(20, 35), "afterwards")
        assert_vectors_of_present_texts(stack, target, 34)
    finally:
        stack.es.indices.delete(index=target)


def resized(stack: Stack, how: str, index: str, target: str, shards: int) -> None:
    stack.es.indices.put_settings(index=index, settings={"index.blocks.write": True})
    settings = {"index.number_of_shards": shards, "index.blocks.write": None}
    getattr(stack.es.indices, how)(index=index, target=target, settings=settings)
