"""Primaries allocated with accepted data loss: in one of several shards a new history begins, and no change is skipped."""

import contextlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from elastic_transport import TransportError
from elasticsearch import ApiError

from esblend.local.paths import elasticsearch_dir
from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, kill, revive, wait_for
from tests.real.test_feed_index_surgery import position, write

INDEX, SHARD = "test-new-primaries", 1


@dataclass(frozen=True)
class Before:
    """What the allocation of an empty primary replaced."""

    position: dict[str, Any]
    files: Path
    """The files of the shard."""


@pytest.fixture(scope="module")
def emptied(fault_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Before]:
    """An attached index whose second shard has lost its documents: an empty primary was allocated."""
    fault_stack.es.indices.create(
        index=INDEX,
        mappings={"properties": {"body": {"type": "text"}}},
        settings={"number_of_shards": 3, "number_of_replicas": 0},
    )
    try:
        fault_stack.attach(INDEX, "body")
        write(fault_stack, INDEX, range(60), "at first")
        fault_stack.wait(INDEX)
        before = Before(position(fault_stack, INDEX), tmp_path_factory.mktemp("shard") / "stale")
        place = folder(fault_stack, INDEX)
        kill(fault_stack, "elasticsearch")
        shutil.move(place, before.files)
        restarted(fault_stack, INDEX, "allocate_empty_primary")
        yield before
    finally:
        revive(fault_stack)
        fault_stack.es.indices.delete(index=INDEX)


def folder(stack: Stack, index: str) -> Path:
    uuid = stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"]
    return elasticsearch_dir(stack.data_dir) / "node-0" / "data" / "indices" / uuid / str(SHARD)


def restarted(stack: Stack, index: str, command: str) -> None:
    """Start the killed Elasticsearch, and allocate the primary of one shard by `command`."""
    allocate = {command: {"index": index, "shard": SHARD, "node": "node-0", "accept_data_loss": True}}

    def is_allocated() -> bool:
        with contextlib.suppress(ApiError, TransportError):
            es = stack.es.options(request_timeout=10, max_retries=0)
            es.cluster.reroute(commands=[allocate])
        with contextlib.suppress(ApiError, TransportError):
            return bool(stack.es.cluster.health(index=index)["active_primary_shards"] == 3)
        return False

    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(revive, stack)
        wait_for("the primary", is_allocated)
        started.result()


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


def test_an_empty_primary(fault_stack: Stack, emptied: Before) -> None:
    assert 0 < count(fault_stack, INDEX) < 60
    check_writes(fault_stack, INDEX, emptied.position)


def test_a_stale_primary(fault_stack: Stack, emptied: Before) -> None:
    """A copy of the shard's files comes back after another primary has taken its place."""
    write(fault_stack, INDEX, range(200), "what is lost again")
    fault_stack.wait(INDEX)
    before = position(fault_stack, INDEX)
    place = folder(fault_stack, INDEX)
    kill(fault_stack, "elasticsearch")
    shutil.rmtree(place)
    shutil.move(emptied.files, place)
    restarted(fault_stack, INDEX, "allocate_stale_primary")
    check_writes(fault_stack, INDEX, before)
