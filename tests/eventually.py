"""Awaiting a condition instead of sleeping."""

import asyncio
from collections.abc import Awaitable, Callable

#: Far longer than any condition takes: only a test that fails waits this long.
PATIENCE_S = 60.0
LOOK_AGAIN_S = 0.02


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once the condition holds; fail if it never does."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110  # what is awaited happens in another process
            await asyncio.sleep(LOOK_AGAIN_S)
