"""Cancels the work for a caller that closes its connection."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


class CallerLeft(Exception):  # noqa: N818
    """The caller closed the connection, or does not read the response. Nobody waits for an answer.

    Not a ConnectionResetError: Elasticsearch resets connections as well, and then the caller gets an answer.
    """


async def unless_caller_leaves(receive: Receive, answering: Coroutine[Any, Any, T]) -> T:
    """The result of `answering`, which is cancelled when the caller disconnects; Elasticsearch then cancels its part too.

    `receive` must have given the whole body. Raises CallerLeft.
    """
    departure = asyncio.ensure_future(_disconnected(receive))
    answer: asyncio.Future[T] | None = None
    try:
        await asyncio.sleep(0)
        if not departure.done():  # otherwise it left before the work began
            answer = asyncio.ensure_future(answering)
            await asyncio.wait((answer, departure), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
        raise CallerLeft("the caller closed the connection")
    finally:
        if answer is None:  # also when the gateway stops within the first tick
            answering.close()
        unfinished = [task for task in (answer, departure) if task is not None and not task.done()]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
