"""Primaries allocated with accepted data loss: in one of several shards a new history begins, and no change is skipped."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, wait_for
from tests.real.test_feed_index_surgery import position, write
from tests.real.test_index_problems import shard_folder

INDEX, SHARD = "test-new-primaries", 1


@dataclass(frozen=True)
class Before:
    """What the allocation of an empty primary replaced."""

    position: dict[str, Any]
    files: Path
    """The files of the shard."""


@pytest.fixture(scope="module")
def emptied(stack: Stack) -> Iterator[Before]:
    """An attached index whose second shard has lost its documents: an empty primary was allocated."""
    stack.es.indices.create(
        index=INDEX,
        mappings={"properties": {"body": {"type": "text"}}},
        settings={"number_of_shards": 3, "number_of_replicas": 0},
    )
    try:
        stack.attach(INDEX, "body")
        write(stack, INDEX, range(60), "at first")
        stack.wait(INDEX)
        folder = shard_folder(stack, INDEX, str(SHARD))
        before = Before(position(stack, INDEX), folder.parents[3] / f"stale-{INDEX}")  # on the same file system
        stack.es.indices.close(index=INDEX)
        folder.rename(before.files)
        reopen(stack, "allocate_empty_primary")
        yield before
    finally:
        stack.es.indices.delete(index=INDEX)


def reopen(stack: Stack, command: str) -> None:
    """Open the index, of which one shard has lost its primary, and allocate that one by `command`."""
    stack.es.indices.open(index=INDEX, wait_for_active_shards=0)
    wait_for("the other primaries", lambda: primaries(stack) == 2)
    # Elasticsearch remembers that there was no copy, so it allocates none by itself.
    allocate = {command: {"index": INDEX, "shard": SHARD, "node": "node-0", "accept_data_loss": True}}
    stack.es.cluster.reroute(commands=[allocate])
    wait_for("the primary", lambda: primaries(stack) == 3)


def primaries(stack: Stack) -> int:
    return int(stack.es.cluster.health(index=INDEX)["active_primary_shards"])


def count(stack: Stack, index: str) -> int:
    stack.es.indices.refresh(index=index)
    return int(stack.es.count(index=index)["count"])


def check_writes(stack: Stack, index: str, before: dict[str, Any]) -> None:
    """Old documents are changed and new ones written; afterwards each has the vector of its text."""
    wait_for("the new history", lambda: position(stack, index)[str(SHARD)]["history"] != before[str(SHARD)]["history"])
    for number in range(0, 60, 3):
        stack.es.options(ignore_status=404).update(
            index=index, id=str(number), doc={"body": f"Number {number} changed."}
        )
    write(stack, index, range(60, 90), "after the loss")
    assert_vectors_of_present_texts(stack, index, count(stack, index))
    after = position(stack, index)
    for shard in before:
        assert (after[shard]["history"] == before[shard]["history"]) == (shard != str(SHARD))


def test_an_empty_primary(stack: Stack, emptied: Before) -> None:
    assert 0 < count(stack, INDEX) < 60
    check_writes(stack, INDEX, emptied.position)


def test_a_stale_primary(stack: Stack, emptied: Before) -> None:
    """A copy of the shard's files comes back after another primary has taken its folder."""
    write(stack, INDEX, range(200), "what is lost again")
    stack.wait(INDEX)
    before = position(stack, INDEX)
    folder = shard_folder(stack, INDEX, str(SHARD))
    stack.es.indices.close(index=INDEX)
    shutil.rmtree(folder)
    emptied.files.rename(folder)
    reopen(stack, "allocate_stale_primary")
    check_writes(stack, INDEX, before)
