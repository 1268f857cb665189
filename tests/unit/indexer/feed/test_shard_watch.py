"""How the names of indices are divided into requests, and what an answer without some of them means."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from elasticsearch import AsyncElasticsearch, AuthorizationException

from indexer.feed import shard_watch
from indexer.feed.shard_changes import IndexShards, read_shards
from indexer.feed.shard_watch import _MAX_REQUESTS, ShardWatch, _targets
from indexer.feed.url_lists import MAX_CHARACTERS
from mappings.dead_letter_index import DEAD_LETTERS_INDEX
from mappings.index_lookup import ATTACHABLE_INDICES
from tests.answering_server import answering_server


def test_few_names_are_one_request() -> None:
    assert _targets({"b", "a"}) == ["a,b"]


def test_names_that_do_not_fit_into_a_url_are_several_requests() -> None:
    names = {f"{number:0255}" for number in range(20)}
    targets = _targets(names)
    assert 1 < len(targets) <= _MAX_REQUESTS
    assert all(len(target) <= MAX_CHARACTERS for target in targets)
    assert set(",".join(targets).split(",")) == names


def test_many_names_are_one_request_for_all_indices() -> None:
    assert _targets({f"{number:0255}" for number in range(100)}) == [ATTACHABLE_INDICES]


def test_names_that_are_not_ascii_fit_into_a_url() -> None:
    targets = _targets({f"商品検索索引日本語版第{number}号" for number in range(60)})
    assert len(targets) > 1
    assert all(len(target.encode()) <= MAX_CHARACTERS for target in targets)


@contextmanager
def recorded_paths() -> Iterator[list[str]]:
    """The paths of all requests."""
    paths: list[str] = []
    perform = AsyncElasticsearch.perform_request

    async def record(es: AsyncElasticsearch, method: str, path: str, **options: Any) -> Any:
        paths.append(path)
        return await perform(es, method, path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AsyncElasticsearch, "perform_request", record)
        yield paths


def counting(count: int) -> Callable[..., Any]:
    async def counters(_: ShardWatch, names: set[str]) -> dict[str, Any]:
        return dict.fromkeys(names, count)

    return counters


def test_an_index_whose_node_does_not_answer_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer lacks its shards, and the cluster state stays the same."""
    present = True

    async def read(_: object, names: list[str], **__: object) -> dict[str, IndexShards]:
        return {name: IndexShards("uuid", {}) for name in names if present}

    async def act() -> None:
        nonlocal present
        watch = ShardWatch(AsyncElasticsearch("http://127.0.0.1:9"), DEAD_LETTERS_INDEX)

        async def look() -> set[str]:
            watch._counted_at = float("-inf")
            return await watch.look({"a"}, set())

        monkeypatch.setattr(shard_watch, "read_shards", read)
        monkeypatch.setattr(ShardWatch, "_read_counters", counting(5))
        assert await look() == {"a"}
        assert await look() == set()
        monkeypatch.setattr(ShardWatch, "_read_counters", counting(6))
        present = False
        assert await look() == {"a"}
        assert watch.shards == {}
        present = True
        assert await look() == {"a"}
        assert set(watch.shards) == {"a"}
        assert await look() == set()

    asyncio.run(act())


def test_counters_are_read_less_often_after_a_while_without_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """But a change is noticed within two seconds."""
    watch = ShardWatch(AsyncElasticsearch("http://127.0.0.1:9"), DEAD_LETTERS_INDEX)
    watch._counted_at, watch._changed_at, watch._count_seconds = 100.0, 100.0, 0.01
    assert not watch._is_count_due(100.1)
    assert watch._is_count_due(100.3)
    watch._counted_at = 200.0
    assert not watch._is_count_due(201.4)
    assert watch._is_count_due(201.6)


@pytest.mark.parametrize(("others", "requests"), [(10, 1), (60, 2)])
def test_one_request_counts_all_indices_unless_most_of_them_are_others(others: int, requests: int) -> None:
    """The names of the followed indices need two requests."""
    names = {f"{number:0255}" for number in range(12)}
    body = {"indices": {name: {} for name in (*names, *(f"other-{number}" for number in range(others)))}}

    async def act(url: str) -> list[int]:
        async with AsyncElasticsearch(url) as es:
            watch = ShardWatch(es, DEAD_LETTERS_INDEX)
            sent = []
            for _ in range(2):
                paths.clear()
                await watch._read_counters(names)
                sent.append(len(paths))
            return sent

    with answering_server(200, body) as url, recorded_paths() as paths:
        assert asyncio.run(act(url)) == [1, requests]


@pytest.mark.parametrize(("followed", "paths_of_stats"), [(60, 2), (30, 1)])
def test_the_shard_stats_of_many_active_indices_are_not_read_for_all(followed: int, paths_of_stats: int) -> None:
    """Their names need two requests. One reads all indices of the cluster, if most of the followed ones are active."""
    active = {f"{number:0255}" for number in range(20)}
    others = {f"other-{number}" for number in range(followed - len(active))}

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url) as es:
            watch = ShardWatch(es, DEAD_LETTERS_INDEX)
            await watch.look(active | others, active)  # the first look reads all
            watch._counted_at = time.monotonic() + 60
            paths.clear()
            await watch.look(active | others, active)

    with answering_server(200, {"indices": {}}) as url, recorded_paths() as paths:
        asyncio.run(act(url))
    assert len(paths) == paths_of_stats
    assert ("/*/_stats" in paths[0]) == (paths_of_stats == 1)


def test_a_right_that_one_index_lacks_is_no_error_for_the_others() -> None:
    body = {"error": {"type": "security_exception", "reason": "no"}, "status": 403}

    async def act(url: str) -> None:
        async with AsyncElasticsearch(url) as es:
            assert await read_shards(es, ["a"], is_strict=False) == {}
            with pytest.raises(AuthorizationException):
                await read_shards(es, ["a"])

    with answering_server(403, body) as url:
        asyncio.run(act(url))
