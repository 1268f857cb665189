"""Work for a caller that leaves is cancelled, and nothing is left behind."""

import asyncio
import inspect
from typing import Any

import pytest

from esblend.disconnect import CallerLeft, unless_caller_leaves


async def _stays() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def _leaves() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def _answer() -> int:
    await asyncio.sleep(0)
    return 7


def _left_over(loop_tasks: set[Any]) -> set[Any]:
    return {task for task in loop_tasks if task is not asyncio.current_task() and not task.done()}


async def test_the_answer_for_a_caller_that_stays() -> None:
    assert await unless_caller_leaves(_stays, _answer()) == 7
    assert not _left_over(asyncio.all_tasks())


async def test_the_work_for_a_caller_that_left_does_not_begin() -> None:
    began = []

    async def work() -> None:
        began.append(True)

    with pytest.raises(CallerLeft):
        await unless_caller_leaves(_leaves, work())
    assert not began


async def test_a_gateway_that_stops_within_the_first_tick_leaves_nothing_behind() -> None:
    work = _answer()
    task = asyncio.ensure_future(unless_caller_leaves(_stays, work))
    await asyncio.sleep(0)  # the task has begun and waits for its first tick
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED
    assert not _left_over(asyncio.all_tasks())
