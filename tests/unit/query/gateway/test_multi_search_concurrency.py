"""The searches of an `_msearch` run a few at a time, and end with their request."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from query.gateway.context import GatewayContext
from query.gateway.expensive_searches import ExpensiveSearches
from query.gateway.fair_share import FairShare
from query.gateway.multi_search import MultiSearch
from query.gateway.multi_search_lines import parse_items
from query.language.tree import Hybrid, Search


class Counted(MultiSearch):
    """Counts the searches that run at once instead of sending them."""

    running = most = ended = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.has_begun = asyncio.Event()
        self.at_once: list[int] = []

    async def answer(self, number: int) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.at_once.append(self.running)
        try:
            await asyncio.sleep(0)
            self.responses[number] = {"number": number}
            self.ended += 1
            if self.ended == 20:
                self.has_begun.set()
        finally:
            self.running -= 1


def searches(query_string: bytes = b"", share: FairShare | None = None) -> Counted:
    items = list(parse_items(b"{}\n{}\n" * 1000))
    context = SimpleNamespace(share=share or FairShare())
    return Counted(cast(GatewayContext, context), {"query_string": query_string}, "", items)


@pytest.mark.parametrize(
    ("query_string", "most"), [(b"", 8), (b"max_concurrent_searches=3", 3), (b"max_concurrent_searches=99", 8)]
)
async def test_a_thousand_searches_run_a_few_at_a_time(query_string: bytes, most: int) -> None:
    counted = searches(query_string)
    response: Any = (await counted.run())[0]
    assert counted.most == most
    assert [answer["number"] for answer in response["responses"]] == list(range(1000))


async def test_the_searches_of_a_cancelled_request_end() -> None:
    counted = searches()
    running = asyncio.create_task(counted.run())
    await counted.has_begun.wait()
    running.cancel()
    await asyncio.wait([running])
    assert (counted.running, running.cancelled()) == (0, True)
    assert counted.ended < 1000


async def test_beside_another_request_one_search_runs_at_a_time() -> None:
    share = FairShare()
    counted = searches(share=share)
    with share.request(), share.request():
        await counted.run()
    assert (counted.most, counted.ended) == (1, 1000)


async def test_searches_give_way_to_a_request_that_comes_later() -> None:
    share = FairShare()
    counted = searches(share=share)
    with share.request():
        running = asyncio.create_task(counted.run())
        await counted.has_begun.wait()
        assert counted.most == 8
        with share.request():
            already_begun = len(counted.at_once) + 8
            await running
    assert (max(counted.at_once[already_begun:]), counted.ended) == (1, 1000)


class Expensive(MultiSearch):
    """Expensive searches, for which other requests would not wait at all."""

    async def answer(self, number: int) -> None:
        async with self._context.expensive.turn(Search(Hybrid(("wing",)), size=5000), parts=1):
            await asyncio.sleep(0)
            self.responses[number] = {"number": number}


async def test_the_expensive_searches_of_a_request_wait_for_each_other_as_long_as_it_takes() -> None:
    context = SimpleNamespace(share=FairShare(), expensive=ExpensiveSearches(1, patience_seconds=0))
    items = list(parse_items(b"{}\n{}\n" * 20))
    response: Any = (await Expensive(cast(GatewayContext, context), {"query_string": b""}, "", items).run())[0]
    assert [answer["number"] for answer in response["responses"]] == list(range(20))
