"""A bulk item that fails with status 500 is the server's fault: its document is sent again and never becomes a dead letter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, kill, process, revive
from tests.real.spoiling_proxy import Spoiler, spoiling

FAILURES = 3


@pytest.fixture(scope="module")
def _without_worker(fault_stack: Stack) -> Iterator[None]:
    kill(fault_stack, "worker")
    yield
    revive(fault_stack)


@pytest.fixture
def index(fault_stack: Stack, _without_worker: None, index_name: str) -> Iterator[str]:
    fault_stack.es.indices.create(
        index=index_name, mappings={"properties": {"body": {"type": "text"}}}, settings={"number_of_replicas": 0}
    )
    yield index_name
    fault_stack.es.indices.delete(index=index_name)


@pytest.mark.parametrize("documents", [1, 5])
def test_a_failing_item_is_sent_again(fault_stack: Stack, index: str, tmp_path: Path, documents: int) -> None:
    stack = fault_stack
    for number in range(documents):
        stack.es.index(index=index, id=str(number), document={"body": f"Text {number}."})
    spoiler = Spoiler(stack.described["elasticsearch"], "0", FAILURES)
    with (
        spoiling(spoiler) as url,
        process(stack, "esblend", "worker", place=tmp_path, ESBLEND_ES_URL=url),
    ):
        stack.attach(index, "body")
        assert_vectors_of_present_texts(stack, index, documents)
    assert spoiler.times == FAILURES
    assert stack.call("GET", "/_esblend/dead-letters", index=index)["total"] == 0


@pytest.mark.parametrize("refusal", [400, 415])
def test_a_worker_behind_a_proxy_that_passes_only_json_writes_json(
    fault_stack: Stack, index: str, tmp_path: Path, refusal: int
) -> None:
    """Elasticsearch itself answers 400 to media types that it does not accept."""
    fault_stack.es.index(index=index, id="0", document={"body": "Text 0."})
    spoiler = Spoiler(fault_stack.described["elasticsearch"], "0", 0, refusal)
    with (
        spoiling(spoiler) as url,
        process(fault_stack, "esblend", "worker", place=tmp_path, ESBLEND_ES_URL=url),
    ):
        fault_stack.attach(index, "body")
        assert_vectors_of_present_texts(fault_stack, index, 1)
    assert spoiler.refused == 1
