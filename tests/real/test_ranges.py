"""A worker finds the documents of a range of changes itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from elasticsearch import NotFoundError

from esblend.broker import EmbedResult, RangeTask
from esblend.settings import Settings
from indexer.feed.task_queue import TaskQueue
from mappings.problems import MIN_RESULT_WINDOW
from tests.conftest import Stack
from tests.real.faults import assert_vectors_of_present_texts, kill, revive
from workers import range_reading
from workers.documents import find_target
from workers.range_reading import RangeReader


@pytest.fixture(scope="module")
def stack(fault_stack: Stack) -> Stack:
    """One stack for the whole file, even if Elasticsearch's address is given."""
    return fault_stack


def uuid_of(stack: Stack, index: str) -> str:
    return str(stack.es.indices.get_settings(index=index)[index]["settings"]["index"]["uuid"])


def range_task(stack: Stack, index: str, after: int, until: int, **options: Any) -> RangeTask:
    fields = {"shard": 0, "after": after, "until": until, "max_documents": 1000, **options}
    return RangeTask(index=index, uuid=uuid_of(stack, index), generation="g1", **fields)


def run(stack: Stack, *tasks: RangeTask) -> list[EmbedResult]:
    """The results of tasks that no feed waits for."""
    queue = TaskQueue(Settings(es_url=stack.described["elasticsearch"], redis_url=stack.described["redis"]))
    try:
        return [queue.wait(sent, seconds=240) for sent in [queue.send("live", task) for task in tasks]]
    finally:
        queue.close()


@contextmanager
def without_feed(stack: Stack) -> Iterator[None]:
    kill(stack, "feed")
    try:
        yield
    finally:
        revive(stack)


@pytest.fixture
def index(fault_stack: Stack, index_name: str) -> Iterator[str]:
    """An attached index of one shard without documents."""
    mapping = {"properties": {"body": {"type": "text"}}}
    settings = {"number_of_replicas": 0, "number_of_shards": 1}
    fault_stack.es.indices.create(index=index_name, mappings=mapping, settings=settings)
    yield index_name
    fault_stack.es.indices.delete(index=index_name)


def fill(stack: Stack, index: str, count: int, text: str = "text") -> None:
    operations: list[dict[str, Any]] = []
    for number in range(count):
        operations += [{"index": {"_id": str(number)}}, {"body": f"{text} {number}"}]
    assert not stack.es.bulk(index=index, operations=operations, refresh=True)["errors"]


def test_pages_end_between_two_numbers(stack: Stack, make_index: Callable[..., str]) -> None:
    """24 documents in a shrunk index have about six numbers."""
    index = make_index(*({"body": f"text {number}"} for number in range(24)), number_of_shards=4)
    stack.attach(index, "body")
    stack.wait(index)
    stack.es.indices.put_settings(index=index, settings={"index.blocks.write": True})
    small = f"{index}-small"
    stack.es.indices.shrink(
        index=index, target=small, settings={"index.number_of_shards": 1, "index.blocks.write": None}
    )
    try:
        stack.es.indices.refresh(index=small)
        task = range_task(stack, small, -1, 100)
        target = find_target(stack.es, task)
        assert target is not None
        for size in (1, 3, 5, 24, 100):
            pages = list(RangeReader(stack.es, target, task, size).pages())
            ids = [key for page in pages for key in page.found]
            assert (len(ids), len(set(ids))) == (24, 24)
            numbers = [{document.seq_no for document in page.documents} for page in pages]
            assert sum(map(len, numbers)) == len(set().union(*numbers)) < 24
        for window in (1, 2):
            stack.es.indices.put_settings(index=small, settings={"index.max_result_window": window})
            target = find_target(stack.es, task)
            assert target is not None
            pages = list(RangeReader(stack.es, target, task, 24).pages())
            if window == 1:  # fewer numbers than documents: one of them has more documents than a search may return
                assert max(len(page.found) for page in pages) > 1
            ids = [key for page in pages for key in page.found]
            assert (len(ids), len(set(ids))) == (24, 24)
    finally:
        stack.es.indices.delete(index=small)


def test_pages_fit_into_the_smallest_result_window(stack: Stack, make_index: Callable[..., str]) -> None:
    documents = [{"body": f"text {number}"} for number in range(MIN_RESULT_WINDOW)]
    index = make_index(*documents, number_of_shards=1, max_result_window=MIN_RESULT_WINDOW)
    stack.attach(index, "body")
    stack.wait(index)
    task = range_task(stack, index, -1, 10_000)
    target = find_target(stack.es, task)
    assert target is not None
    pages = list(RangeReader(stack.es, target, task, MIN_RESULT_WINDOW).pages())
    assert len(pages) == 2
    assert {id_ for page in pages for id_, _ in page.found} == {str(number) for number in range(len(documents))}


def test_pages_of_short_texts_grow_until_texts_are_long(
    stack: Stack, make_index: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(*({"body": f"text {number:3}"} for number in range(100)), number_of_shards=1)
    stack.attach(index, "body")
    stack.wait(index)
    task = range_task(stack, index, -1, 10_000)
    target = find_target(stack.es, task)
    assert target is not None

    def pages(size: int, most: int | None = None) -> list[int]:
        return [len(page.found) for page in RangeReader(stack.es, target, task, size, most).pages()]

    assert pages(10, 35) == [10, 20, 35, 35]
    assert pages(50) == pages(50, 10) == [50, 50]
    monkeypatch.setattr(range_reading, "_SMALL_PAGE", 20 * len("text 123"))
    assert pages(10, 35) == [10, 20, 20, 20, 20, 10]
    monkeypatch.setattr(range_reading, "_LARGE_PAGE", 15 * len("text 123"))
    assert pages(10, 35) == [10, 20, 10, 20, 10, 20, 10]


def test_a_task_stops_at_its_limit_and_reports_how_far_it_came(fault_stack: Stack, index: str) -> None:
    stack = fault_stack
    with without_feed(stack):
        stack.attach(index, "body")
        fill(stack, index, 200)
        [result] = run(stack, range_task(stack, index, -1, 199, max_documents=50))
        assert (result.documents, result.written, result.until) == (50, 50, 49)
        [result] = run(stack, range_task(stack, index, 49, 199, without=[(60, 199)]))
        assert (result.documents, result.written, result.until) == (10, 10, 199)
    assert_vectors_of_present_texts(stack, index, 200)


def test_documents_in_few_numbers_are_found_in_wide_ranges(fault_stack: Stack, index: str) -> None:
    """Two documents with thousands of changes, and some that came last."""
    stack = fault_stack
    for turn in range(20):
        operations: list[dict[str, Any]] = []
        for change in range(500):
            operations += [{"index": {"_id": str(change % 2)}}, {"body": f"change {change} of turn {turn}"}]
        assert not stack.es.bulk(index=index, operations=operations)["errors"]
    fill(stack, index, 150, "the last text of")
    stack.attach(index, "body")
    assert_vectors_of_present_texts(stack, index, 150)


def test_proof_comes_with_the_search(fault_stack: Stack, index: str) -> None:
    """Documents that lost their vectors, and kept everything beside them, are embedded again; the others are not."""
    stack = fault_stack
    fill(stack, index, 3)
    stack.attach(index, "body")
    stack.wait(index)
    with without_feed(stack):
        source = stack.es.get(index=index, id="1")["_source"]
        for passage in source["esblend"]["g1"]["passages"]:
            passage.pop("vector", None)
        stack.es.index(index=index, id="1", document=source, refresh=True)
        [result] = run(stack, range_task(stack, index, -1, 100))
        assert (result.documents, result.unchanged, result.written) == (3, 2, 1)


def test_a_version_that_no_search_sees_conflicts_and_is_delivered_again(fault_stack: Stack, index: str) -> None:
    stack = fault_stack
    stack.es.indices.put_settings(index=index, settings={"refresh_interval": "-1"})
    stack.attach(index, "body")
    with without_feed(stack):
        fill(stack, index, 2)
        stack.es.index(index=index, id="1", document={"body": "a newer text"})
        [result] = run(stack, range_task(stack, index, -1, 1))
        assert (result.written, result.conflicts) == (1, 1)
    assert_vectors_of_present_texts(stack, index, 2)


def test_a_deleted_document_with_an_external_version_stays_deleted(fault_stack: Stack, index: str) -> None:
    """The last refresh is older than Elasticsearch's memory of the deletion."""
    stack = fault_stack
    stack.es.indices.put_settings(index=index, settings={"refresh_interval": "-1", "gc_deletes": "1ms"})
    stack.attach(index, "body", versioning="external")
    with without_feed(stack):
        stack.es.index(index=index, id="a", document={"body": "text"}, version=5, version_type="external", refresh=True)
        stack.es.delete(index=index, id="a", version=6, version_type="external")
        [result] = run(stack, range_task(stack, index, -1, 0))
        assert (result.gone, result.written) == (1, 0)
        with pytest.raises(NotFoundError):
            stack.es.get(index=index, id="a")


def test_ranges_twice_and_of_missing_indices_are_harmless(fault_stack: Stack, index: str) -> None:
    stack = fault_stack
    fill(stack, index, 5)
    stack.attach(index, "body")
    stack.wait(index)
    task = range_task(stack, index, -1, 100)
    others = [
        task.model_copy(update=change)
        for change in ({"uuid": "recreated"}, {"generation": "g9"}, {"index": "no-such-index"}, {"shard": 7})
    ]
    results = run(stack, task, task, *others)
    assert [(result.unchanged, result.written, result.until) for result in results] == [(5, 0, 100)] * 2 + [
        (0, 0, 100)
    ] * 4
    stack.es.indices.close(index=index)
    with pytest.raises(Exception, match="cannot be searched"):
        run(stack, task)
    stack.es.indices.open(index=index)
