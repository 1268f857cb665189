"""Parts of a search that run at the same time end together."""

import asyncio

import pytest

from query.run.together import together


async def test_results_are_in_order() -> None:
    assert await together(asyncio.sleep(0.001, "a"), asyncio.sleep(0, "b")) == ["a", "b"]


async def test_a_failure_cancels_the_other_parts() -> None:
    cancelled = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("no vector")

    with pytest.raises(ValueError, match="no vector"):
        await together(long(), failing())
    assert cancelled.is_set()


async def test_a_cancelled_search_cancels_all_parts() -> None:
    ended: list[int] = []

    async def part(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    search = asyncio.create_task(together(part(1), part(2)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    assert sorted(ended) == [1, 2]
