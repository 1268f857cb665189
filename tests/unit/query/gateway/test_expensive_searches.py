"""Expensive searches wait for each other, and no ordinary search waits for them."""

import asyncio
from typing import Any

import pytest

from esblend.errors import TooManyRequests
from query.gateway.expensive_searches import ExpensiveSearches
from query.language.search_body import parse_search
from query.plan.cost import parts_of

LARGE: dict[str, Any] = {"query": {"hybrid": {"query": "wing"}}, "size": 5000}
ORDINARY: dict[str, Any] = {"query": {"hybrid": {"query": "wing"}}}


async def _enter(searches: ExpensiveSearches, body: dict[str, Any], running: list[int], end: asyncio.Event) -> None:
    async with searches.turn(parse_search(body), parts_of(body)):
        running.append(1)
        await end.wait()
        running.pop()


async def _steps() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_expensive_searches_run_up_to_the_limit_and_the_others_follow() -> None:
    async def main() -> None:
        searches, running, end = ExpensiveSearches(2), list[int](), asyncio.Event()
        tasks = [asyncio.create_task(_enter(searches, LARGE, running, end)) for _ in range(5)]
        await _steps()
        assert len(running) == 2
        end.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_an_ordinary_search_does_not_wait_for_expensive_ones() -> None:
    async def main() -> None:
        searches, end = ExpensiveSearches(1), asyncio.Event()
        expensive = [asyncio.create_task(_enter(searches, LARGE, [], end)) for _ in range(3)]
        await _steps()
        running: list[int] = []
        ordinary = [asyncio.create_task(_enter(searches, ORDINARY, running, end)) for _ in range(20)]
        await _steps()
        assert len(running) == 20
        end.set()
        await asyncio.gather(*expensive, *ordinary)

    asyncio.run(main())


def test_a_caller_who_leaves_frees_the_place() -> None:
    async def main() -> None:
        searches, running, end = ExpensiveSearches(1), list[int](), asyncio.Event()
        running_task, waiting_task, last = (
            asyncio.create_task(_enter(searches, LARGE, running, end)) for _ in range(3)
        )
        await _steps()
        waiting_task.cancel()
        running_task.cancel()
        await asyncio.gather(running_task, waiting_task, return_exceptions=True)
        end.set()
        await last

    asyncio.run(main())


def test_a_search_that_waits_too_long_is_refused() -> None:
    async def main() -> None:
        searches, end = ExpensiveSearches(1, patience_seconds=0.01), asyncio.Event()
        first = asyncio.create_task(_enter(searches, LARGE, [], end))
        await _steps()
        with pytest.raises(
            TooManyRequests, match=r"the limit of expensive searches \(1\) is reached, and this one waited"
        ):
            await _enter(searches, LARGE, [], end)
        end.set()
        await first

    asyncio.run(main())


def test_no_search_waits_behind_too_many_others() -> None:
    async def main() -> None:
        searches, end = ExpensiveSearches(2), asyncio.Event()
        tasks = [asyncio.create_task(_enter(searches, LARGE, [], end)) for _ in range(2 + 16)]
        await _steps()
        refused = asyncio.create_task(_enter(searches, LARGE, [], end))
        await _steps()
        assert refused.done()
        with pytest.raises(TooManyRequests, match="16 others wait"):
            await refused
        end.set()
        await asyncio.gather(*tasks)
        await _enter(searches, LARGE, [], end)

    asyncio.run(main())
