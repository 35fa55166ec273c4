from collections.abc import AsyncGenerator

import psycopg
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import BASE_CAPABILITIES
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg.rows import dict_row

from checkpoints.saver import Hold, Journal, RunSaver, refuse_permissive_serialisation, run_saver, tenant_saver
from core.errors import FenceLost
from core.ids import RunId, TenantId, new_id
from db.checkpoint_pool import TenantCheckpointPool
from db.pools import Database
from db.provision import create_tenant
from tests.builders import rows
from tests.conftest import Stack

COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = %s AND table_name LIKE 'checkpoint%%' ORDER BY 1, 2
"""
INDEXES = """
SELECT replace(indexdef, %(schema)s || '.', '') AS index FROM pg_indexes
WHERE schemaname = %(schema)s AND tablename LIKE 'checkpoint%%' ORDER BY 1
"""


async def a_saver(database: Database, tenant: TenantId) -> RunSaver:
    """The saver of a run that is held."""
    hold = Hold(RunId("run_1"), new_id("conv"), fence=1)
    await rows(
        database, tenant,
        """INSERT INTO core.conversation_leases (conversation_id, tenant_id, fence)
           VALUES (%s, current_user, 1) RETURNING 1""",
        hold.lease_id,
    )  # fmt: skip
    return run_saver(database, tenant, hold, Journal())


async def test_our_migration_makes_the_tables_that_the_librarys_own_setup_makes(stack: Stack, tenant: TenantId) -> None:
    async with await psycopg.AsyncConnection.connect(
        stack.admin_url, autocommit=True, row_factory=dict_row, prepare_threshold=0
    ) as admin:
        for statement in ("DROP SCHEMA IF EXISTS stock CASCADE", "CREATE SCHEMA stock", "SET search_path TO stock"):
            await admin.execute(statement.encode())
        await AsyncPostgresSaver(admin).setup()

        async def shape(schema: str) -> tuple[list[object], list[object], list[object]]:
            columns = await (await admin.execute(COLUMNS, (schema,))).fetchall()
            indexes = await (await admin.execute(INDEXES, {"schema": schema})).fetchall()
            query = f"SELECT v FROM {schema}.checkpoint_migrations ORDER BY v".encode()
            versions = await (await admin.execute(query)).fetchall()
            return list(columns), list(indexes), list(versions)

        assert await shape(tenant) == await shape("stock")
        await admin.execute("DROP SCHEMA stock CASCADE")


async def test_one_thread_id_in_two_tenants_is_two_threads(database: Database, stack: Stack, tenant: TenantId) -> None:
    other = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    config = {"configurable": {"thread_id": "conv_1", "checkpoint_ns": ""}}
    checkpoint = {
        "v": 4, "id": "1f0c0000-0000-6000-8000-000000000001", "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": {}, "channel_versions": {}, "versions_seen": {},
    }  # fmt: skip
    await (await a_saver(database, tenant)).aput(config, checkpoint, {"source": "input", "step": -1}, {})
    for _ in range(3):  # the same pooled connections serve both in turn
        assert await tenant_saver(database, tenant).aget_tuple(config) is not None
        assert await tenant_saver(database, other).aget_tuple(config) is None


def test_checkpoints_are_read_strictly() -> None:
    refuse_permissive_serialisation()


async def test_a_checkpoint_that_names_a_class_of_ours_comes_back_as_plain_data(
    database: Database, tenant: TenantId
) -> None:
    saver = tenant_saver(database, tenant)
    kind, stored = saver.serde.dumps_typed(Stack("a", "b", "c"))
    assert not isinstance(saver.serde.loads_typed((kind, stored)), Stack)


@pytest.mark.parametrize("tenant_id", ["public", 't_"; DROP SCHEMA core; --', ""])
async def test_only_a_tenant_id_becomes_a_role(database: Database, tenant_id: str) -> None:
    with pytest.raises(Exception, match="not a tenant id"):
        tenant_saver(database, TenantId(tenant_id))


async def test_the_library_finds_nothing_wrong_with_our_saver(database: Database, tenant: TenantId) -> None:
    async def ours() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        yield await a_saver(database, tenant)

    report = await validate(checkpointer_test("ours")(ours), capabilities={c.value for c in BASE_CAPABILITIES})
    assert report.passed_all_base(), report.to_dict()


async def test_what_our_saver_stores_is_what_the_librarys_own_stores(
    database: Database, stack: Stack, tenant: TenantId
) -> None:
    other = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    config = {"configurable": {"thread_id": "conv_1", "checkpoint_ns": ""}, "metadata": {"run_id": "run_1"}}
    values = {
        "words": "plain",
        "count": 3,
        "none": None,
        "messages": [HumanMessage("hello", id="1")],
        "map": {"a": [1]},
    }
    versions = {name: f"{place:032}.0" for place, name in enumerate(values, start=1)}
    checkpoint = {
        "v": 4, "id": "1f0c0000-0000-6000-8000-000000000001", "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": values, "channel_versions": versions, "versions_seen": {},
    }  # fmt: skip
    library = AsyncPostgresSaver(TenantCheckpointPool(database.checkpoints, other))
    for saver in (await a_saver(database, tenant), library):
        stored = await saver.aput(config, checkpoint, {"source": "loop", "step": 1}, versions)
        await saver.aput_writes(stored, [("words", "more"), ("map", {"b": 2})], "task-1", "path")
        await saver.aput_writes(stored, [("__error__", "once")], "task-2")
        await saver.aput_writes(stored, [("__error__", "twice")], "task-2")
        assert (await saver.aget_tuple(config)) is not None
    for query in (
        "SELECT * FROM checkpoints ORDER BY 1, 2, 3",
        "SELECT * FROM checkpoint_blobs ORDER BY 1, 2, 3, 4",
        "SELECT * FROM checkpoint_writes ORDER BY 1, 2, 3, 4, 5",
    ):
        assert await rows(database, tenant, query) == await rows(database, other, query)
    found = await tenant_saver(database, tenant).aget_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"] == values


async def test_a_run_that_lost_its_lease_stores_nothing(database: Database, tenant: TenantId) -> None:
    saver = await a_saver(database, tenant)
    config = {"configurable": {"thread_id": "conv_1", "checkpoint_ns": ""}, "metadata": {"run_id": "run_1"}}
    checkpoint = {
        "v": 4, "id": "1f0c0000-0000-6000-8000-000000000001", "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": {"map": {}}, "channel_versions": {"map": "1"}, "versions_seen": {},
    }  # fmt: skip
    stored = await saver.aput(config, checkpoint, {"source": "input", "step": -1}, {"map": "1"})
    await rows(database, tenant, "UPDATE core.conversation_leases SET fence = 2 RETURNING 1")
    await saver.aput_writes(stored, [("map", {"late": True})], "task")
    later = checkpoint | {"id": "1f0c0000-0000-6000-8000-000000000002", "channel_versions": {"map": "2"}}
    with pytest.raises(FenceLost):
        await saver.aput(stored, later, {"source": "loop", "step": 0}, {"map": "2"})
    for table, count in (("checkpoints", 1), ("checkpoint_blobs", 1), ("checkpoint_writes", 0)):
        assert await rows(database, tenant, f"SELECT count(*) AS n FROM {table}") == [{"n": count}]
