"""Whether an event loop went on while something was awaited."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

ResultT = TypeVar("ResultT")

_TICK = 0.01


async def count_ticks(awaitable: Awaitable[ResultT]) -> tuple[ResultT, int]:
    """The result, and how often a ticker of 10 ms ran meanwhile: 0 or 1 times on a loop that was blocked."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(_TICK)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    try:
        return await awaitable, ticks
    finally:
        ticker.cancel()


def check_loop_was_free(ticks: int) -> None:
    """Raise AssertionError, saying why, if the loop hardly ran while something slow was awaited."""
    assert ticks >= 5, (
        f"the event loop ran {ticks} times while a slow call was awaited; expected 5 or more. Either the call blocked "
        "it, or the component was not made as slow as the suite asked."
    )
