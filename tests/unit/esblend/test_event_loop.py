"""Long computations leave the event loop free."""

import threading

import pytest

from esblend.event_loop import off_loop


@pytest.mark.parametrize("is_long", [True, False])
async def test_long_functions_run_in_another_thread(is_long: bool) -> None:
    thread = await off_loop(is_long, threading.get_ident)
    assert (thread != threading.get_ident()) is is_long


async def test_errors_and_arguments_pass_through() -> None:
    assert await off_loop(True, int, "10", base=2) == 2
    with pytest.raises(ValueError, match="invalid literal"):
        await off_loop(True, int, "x")
