import pytest

from core.crypto import Sealer
from core.ids import TenantId, new_id
from core.settings import DatabaseSettings
from db.pools import Database, open_database
from db.probe import core_version, queue_depths, server_facts, worker_polled_at
from db.tenants import list_tenants
from db.transactions import DatabaseUnavailable
from db.versions import newest_versions
from tests.builders import store
from tests.conftest import Stack


async def test_the_schemas_version_is_the_newest(database: Database) -> None:
    assert await core_version(database) == newest_versions()["core"]


async def test_what_waits_is_counted_and_timed(database: Database, sealer: Sealer) -> None:
    before = await queue_depths(database)
    await store(database, sealer, new_id("acc"), b"{}")
    after = await queue_depths(database)
    assert after.waiting["inbox"] == before.waiting["inbox"] + 1
    assert after.inbox_lag_s >= 0


async def test_the_server_says_what_it_is(database: Database) -> None:
    facts = await server_facts(database)
    assert facts.version_number >= 160000
    assert (facts.encoding, facts.character_type) == ("UTF8", "C.UTF-8")
    assert facts.vector_version is not None
    assert 0 < facts.connections <= facts.connections_max


async def test_a_worker_is_seen_by_its_connections(database: Database, stack: Stack) -> None:
    settings = DatabaseSettings.model_validate({"DATABASE_URL": stack.app_url})
    worker = await open_database(settings, application="worker")
    try:
        polled_at = await worker_polled_at(database)
        await core_version(worker)
        later = await worker_polled_at(database)
    finally:
        await worker.close()
    assert polled_at is not None
    assert later is not None
    assert later >= polled_at


async def test_a_database_that_is_away_is_unavailable(stack: Stack) -> None:
    away = await open_database(DatabaseSettings.model_validate({"DATABASE_URL": stack.app_url}), application="away")
    await away.close()
    for probe in (core_version, queue_depths, server_facts, worker_polled_at):
        with pytest.raises(DatabaseUnavailable):
            await probe(away)


async def test_every_tenant_is_listed(database: Database, tenant: TenantId) -> None:
    found = {listed.id: listed for listed in await list_tenants(database)}
    assert found[tenant].name == "A test tenant"
