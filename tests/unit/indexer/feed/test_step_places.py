"""Slow steps leave their places to others, while enough connections remain."""

import asyncio

import pytest

from indexer.feed import step_places
from indexer.feed.step_places import StepPlaces


def test_slow_steps_leave_connections_for_the_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a connection for each slow step, the feed could not read shard stats any more, and all indices would wait."""
    monkeypatch.setattr(step_places, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(step_places, "_PLACES", 2)
    monkeypatch.setattr(step_places, "MOST_SLOW", 3)

    async def act() -> None:
        places, is_over, all_began = StepPlaces(), asyncio.Event(), asyncio.Event()
        began: list[int] = []

        async def step(number: int) -> None:
            async with places.one():
                began.append(number)
                if len(began) == 5:
                    all_began.set()
                await is_over.wait()

        steps = [asyncio.create_task(step(number)) for number in range(6)]
        await asyncio.wait_for(all_began.wait(), 60)
        for _ in range(100):  # each turn of the loop looks at the places
            await asyncio.sleep(0)
        assert began == [0, 1, 2, 3, 4]
        is_over.set()
        await asyncio.gather(*steps)
        assert (len(began), places.slow, places.free._value) == (6, 0, 2)

    asyncio.run(act())
