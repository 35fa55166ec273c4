import asyncio

import psycopg
import pytest

from core.ids import TenantId
from core.settings import DatabaseSettings
from db import checkpoint_pool
from db.checkpoint_pool import TenantCheckpointPool
from db.pools import open_database
from tests.conftest import Stack

NAME = "dying"


async def test_connections_that_a_restart_left_dead_are_passed_over_at_once(
    stack: Stack, tenant: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them: the library's own check gives up after three."""
    settings = DatabaseSettings.model_validate({"DATABASE_URL": stack.app_url})
    database = await open_database(settings, application=NAME)
    pool = TenantCheckpointPool(database.checkpoints, tenant)
    everyone_is_here = asyncio.Barrier(settings.pool_size_max)

    async def use() -> None:
        async with pool.connection():
            await everyone_is_here.wait()

    await asyncio.gather(*(use() for _ in range(settings.pool_size_max)))
    with psycopg.connect(stack.admin_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (f"chowk {NAME}",)
        )
    monkeypatch.setattr(checkpoint_pool, "IDLE_S", -1.0)
    async with pool.connection() as connection:
        found = await (await connection.execute("SELECT current_user AS role")).fetchone()
    assert found == {"role": tenant}
    await database.close()
