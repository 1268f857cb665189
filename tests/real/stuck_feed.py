"""The feed process with a loop that never finishes its third round, and a limit of a few seconds for its liveness."""

import asyncio

from esblend.settings import Settings
from indexer.feed import process
from indexer.feed.feed import Feed

_rounds = 0
_round = Feed.round


async def _stuck_round(feed: Feed) -> None:
    global _rounds
    _rounds += 1
    if _rounds > 3:
        await asyncio.Event().wait()
    await _round(feed)


if __name__ == "__main__":
    Feed.round = _stuck_round  # type: ignore[method-assign]
    process._STUCK_SECONDS = -115.0  # the time-outs of two requests are added
    asyncio.run(process.run_feed(Settings()))
