"""The pool that only LangGraph's saver uses, and a view of it that speaks for one tenant.

The saver works in autocommit, where `SET LOCAL` does nothing, so a connection keeps its role and search path and they
are changed only when its last tenant was another one.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool
from typing_extensions import override

from core.errors import Broken
from core.ids import TenantId, is_id
from db.steady_pool import SteadyPool

#: A connection that nobody used for this long may have died with its server; a busy one is not asked each time.
IDLE_S = 1.0


class CheckpointPool(SteadyPool):
    """A pool whose connections carry the tenant they last spoke for."""

    @asynccontextmanager
    async def living(self, timeout_s: float | None = None) -> AsyncGenerator[AsyncConnection[DictRow], None]:
        """Check out a connection that lives; those that a restart of the server left dead are passed over.

        The library's own check waits longer after each dead one: with three of them it gives up.

        Raises:
            psycopg_pool.PoolTimeout: none became free in time.
        """
        connection: AsyncConnection[DictRow] | None = None
        try:
            while connection is None:
                connection = await self.getconn(timeout_s)
                if not await _lives(connection):
                    dead, connection = connection, None
                    await self.putconn(dead)  # which throws it away
            yield connection
        finally:
            if connection is not None:
                await self.putconn(connection)


async def _lives(connection: AsyncConnection[DictRow]) -> bool:
    now = time.monotonic()
    if now - getattr(connection, "chowk_used_at", 0.0) > IDLE_S:
        try:
            await AsyncConnectionPool.check_connection(connection)  # pyright: ignore[reportArgumentType]  # any row will do
        except psycopg.OperationalError:
            return False
    connection.chowk_used_at = now  # pyright: ignore[reportAttributeAccessIssue]  # psycopg leaves room
    return True


class TenantCheckpointPool(AsyncConnectionPool[AsyncConnection[DictRow]]):
    """A view of the checkpoint pool for one tenant. It owns no connections and is never opened or closed."""

    def __init__(self, pool: CheckpointPool, tenant_id: TenantId) -> None:
        if not is_id(tenant_id, "t"):
            raise Broken(f"{tenant_id!r} is not a tenant id")
        self._shared = pool
        self._tenant_id = tenant_id

    @override
    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncGenerator[AsyncConnection[DictRow], None]:
        """Check out a connection that acts as this tenant."""
        async with self._shared.living(timeout) as connection:
            if getattr(connection, "chowk_tenant", None) != self._tenant_id:
                # Both or neither: if the statement fails, the next user of this connection must set them again.
                connection.chowk_tenant = None  # pyright: ignore[reportAttributeAccessIssue]  # psycopg leaves room
                speak_for = f'RESET ROLE; SET ROLE "{self._tenant_id}"; SET search_path TO "{self._tenant_id}", public'
                await connection.execute(speak_for.encode(), prepare=False)
                connection.chowk_tenant = self._tenant_id  # pyright: ignore[reportAttributeAccessIssue]  # as above
            yield connection
