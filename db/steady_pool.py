"""A connection pool that is back as soon as its server is, however long that was away.

The stock pool waits 1, 2, 4, … 16 s between attempts and gives up after a while: a server that returns after a quarter
of a minute is found again up to a quarter of a minute later.
"""

import random

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool
from psycopg_pool.pool_async import AddConnection, MaintenanceTask
from typing_extensions import override

#: Between two attempts at one connection. A refused attempt costs well under a millisecond.
RECONNECT_EVERY_S = 0.4
#: The attempts of many processes must not come at the same moment.
JITTER_SHARE = 0.25
#: For the pool's `reconnect_timeout`: it never gives up. Whoever waits for a connection has a timeout of their own.
NEVER = float("inf")


class SteadyPool(AsyncConnectionPool[AsyncConnection[DictRow]]):
    """The library's pool, whose attempts to connect never get rarer. Give it `reconnect_timeout=NEVER`."""

    @override
    async def schedule_task(self, task: MaintenanceTask, delay: float) -> None:
        if isinstance(task, AddConnection):
            jitter = random.uniform(1 - JITTER_SHARE, 1 + JITTER_SHARE)  # noqa: S311  # spreads, and guards nothing
            delay = min(delay, RECONNECT_EVERY_S * jitter)
        await super().schedule_task(task, delay)
