"""What routes take from the application that serves them."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Annotated

from fastapi import Depends, Path, Request

from db.pools import Database


async def _database(request: Request) -> Database:
    database = request.app.state.database
    assert isinstance(database, Database)
    return database


async def _ring(request: Request) -> Callable[[], None]:
    ring: Callable[[], None] = request.app.state.ring
    return ring


async def load_graphs() -> None:
    """Import the graphs, unless it was done before. That takes seconds, so it is done beside the event loop.

    A route that needs them awaits this first, or depends on `GraphsLoaded`, and then imports what it uses.
    """
    await asyncio.to_thread(import_module, "graphs.commands")


#: The pools of this process.
ProcessDatabase = Annotated[Database, Depends(_database)]

#: Wakes the workers after a commit; returns at once and raises nothing.
Ring = Annotated[Callable[[], None], Depends(_ring)]

#: Of a route that imports from `graphs`.
GraphsLoaded = Annotated[None, Depends(load_graphs)]

#: An id of ours in a path. One of another tenant is as unknown as one that never was.
PathId = Annotated[str, Path(pattern=r"^[a-z0-9_]{1,64}$", description="An id such as `conv_01jd3m…`")]
