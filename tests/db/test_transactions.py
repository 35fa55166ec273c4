from functools import partial

import psycopg
import pytest

from core.errors import SettingInvalid
from core.ids import TenantId, new_id
from core.settings import DatabaseSettings
from db.pools import Database, open_database
from db.provision import create_tenant
from db.transactions import DatabaseUnavailable, edge_tx, queue_tx, tenant_tx
from tests.conftest import Stack
from tests.eventually import eventually

A_CONTACT = "INSERT INTO contacts (id, name) VALUES (%s, 'Asha')"


async def insert_and_fail(database: Database, tenant: TenantId) -> None:
    async with tenant_tx(database, tenant, commit="test") as connection:
        await connection.execute(A_CONTACT, (new_id("contact"),))
        _ = 1 / 0


async def count_contacts(database: Database, tenant: TenantId) -> int:
    async with tenant_tx(database, tenant, commit="test") as connection:
        row = await (await connection.execute("SELECT count(*) AS n FROM contacts")).fetchone()
    assert row is not None
    return row["n"]


async def test_a_committed_row_is_seen_by_its_tenant_alone(database: Database, tenant: TenantId, stack: Stack) -> None:
    other = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    async with tenant_tx(database, tenant, commit="test") as connection:
        await connection.execute(A_CONTACT, (new_id("contact"),))
    assert await count_contacts(database, tenant) == 1
    assert await count_contacts(database, other) == 0


async def test_an_exception_rolls_the_transaction_back(database: Database, tenant: TenantId) -> None:
    with pytest.raises(ZeroDivisionError):
        await insert_and_fail(database, tenant)
    assert await count_contacts(database, tenant) == 0


async def test_a_tenant_cannot_read_another_tenants_schema(database: Database, tenant: TenantId, stack: Stack) -> None:
    other = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with tenant_tx(database, tenant, commit="test") as connection:
            await connection.execute(f"SELECT * FROM {other}.contacts".encode())


async def test_a_tenant_sees_only_its_own_rows_of_the_shared_tables(
    database: Database, tenant: TenantId, stack: Stack
) -> None:
    other = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    async with tenant_tx(database, tenant, commit="test") as connection:
        rows = await (await connection.execute("SELECT id FROM core.tenants")).fetchall()
    assert [row["id"] for row in rows] == [tenant]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):  # row-level security
        async with tenant_tx(database, tenant, commit="test") as connection:
            await connection.execute(
                "INSERT INTO core.conversation_leases (conversation_id, tenant_id) VALUES ('c', %s)", (other,)
            )


async def test_the_login_itself_may_do_nothing(database: Database) -> None:
    for statement in (b"SELECT * FROM core.inbox", b"SELECT * FROM core.tenants", b"CREATE TABLE public.mine ()"):
        async with database.app.connection() as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement)


async def test_the_edge_may_insert_into_the_inbox_and_read_nothing(database: Database) -> None:
    insert = """INSERT INTO core.inbox (source_id, channel, verdict, dedupe_key, body_bytes)
                VALUES ('nobody', 'whatsapp', 'signed', %s, 1) ON CONFLICT DO NOTHING"""
    async with edge_tx(database, commit="test") as connection:
        await connection.execute(insert, (new_id("x").encode(),))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with edge_tx(database, commit="test") as connection:
            await connection.execute("SELECT * FROM core.inbox")


async def test_the_queue_role_cannot_read_what_an_effect_says(database: Database) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with queue_tx(database, commit="test") as connection:
            await connection.execute("SELECT payload FROM core.effects")


async def test_a_superuser_login_is_refused(stack: Stack) -> None:
    with pytest.raises(SettingInvalid, match="superuser"):
        await open_database(DatabaseSettings.model_validate({"DATABASE_URL": stack.admin_url}), application="tests")


async def test_connections_that_the_server_ended_are_passed_over(
    database: Database, tenant: TenantId, stack: Stack
) -> None:
    assert await count_contacts(database, tenant) == 0
    with psycopg.connect(stack.admin_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chowk tests'")
    assert await count_contacts(database, tenant) == 0
    await database.checkpoints.check()  # the tests after this one want live connections


async def test_a_transaction_in_which_the_process_slept_too_long_is_lost_and_can_be_tried_again(
    database: Database, tenant: TenantId, stack: Stack
) -> None:
    async def sleep_in_a_transaction() -> None:
        async with tenant_tx(database, tenant, commit="test") as connection:
            await connection.execute(A_CONTACT, (new_id("contact"),))
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 1")
            await eventually(partial(is_gone, connection.info.backend_pid, stack))

    # Whether the server's own words are read or only that it hung up is a matter of chance.
    for _ in range(5):
        with pytest.raises(DatabaseUnavailable) as raised:
            await sleep_in_a_transaction()
        assert raised.value.retryable
    assert await count_contacts(database, tenant) == 0


async def is_gone(backend_pid: int, stack: Stack) -> bool:
    with psycopg.connect(stack.admin_url, autocommit=True) as admin:
        return admin.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (backend_pid,)).rowcount == 0
