"""Keeps long computations off the event loop: other callers wait for each of its steps."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
LARGE_BODY = 1_000_000
"""Bytes. Parsing or compressing more takes longer than handing it to a thread."""


async def off_loop(is_long: bool, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """The result of a function, which runs in a thread if it takes long. Short ones run at once: a thread costs more."""
    return await asyncio.to_thread(function, *arguments, **named) if is_long else function(*arguments, **named)
