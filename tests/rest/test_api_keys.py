import asyncio
from datetime import timedelta

import pytest

from core.clock import utc_now
from core.errors import Overloaded, Unauthenticated
from core.ids import TenantId
from db.pools import Database
from db.transactions import tenant_tx
from rest.api_keys import LOOKUPS_WAITING_MAX, ApiKeys, create_api_key
from tests.builders import rows


async def a_key(database: Database, tenant_id: TenantId, *, valid: timedelta | None = None) -> str:
    async with tenant_tx(database, tenant_id, commit="test") as connection:
        expires_at = None if valid is None else utc_now() + valid
        return await create_api_key(connection, tenant_id=tenant_id, name="test", expires_at=expires_at)


async def test_a_key_finds_its_tenant_and_what_it_may_do(database: Database, tenant: TenantId) -> None:
    found = await ApiKeys(database).find(await a_key(database, tenant))
    assert (found.tenant_id, found.scopes) == (tenant, {"read", "write"})


async def test_a_key_is_nowhere_in_the_database(database: Database, tenant: TenantId) -> None:
    key = await a_key(database, tenant)
    (stored,) = await rows(database, tenant, "SELECT row_to_json(k)::text AS row FROM core.api_keys k")
    assert key.rpartition("_")[2] not in stored["row"]


@pytest.mark.parametrize("key", ["", "ak_", "nonsense", "ak_" + "0" * 26 + "_" + "0" * 64, "\x00", "ünï", "x" * 10_000])
async def test_a_key_that_nobody_issued_is_refused(database: Database, key: str) -> None:
    with pytest.raises(Unauthenticated):
        await ApiKeys(database).find(key)


async def test_an_expired_key_is_refused(database: Database, tenant: TenantId) -> None:
    key = await a_key(database, tenant, valid=timedelta(seconds=-1))
    with pytest.raises(Unauthenticated):
        await ApiKeys(database).find(key)


async def test_a_revoked_key_is_refused_by_a_process_that_has_not_just_seen_it(
    database: Database, tenant: TenantId
) -> None:
    key = await a_key(database, tenant)
    seen = ApiKeys(database)
    await seen.find(key)
    await rows(database, tenant, "UPDATE core.api_keys SET revoked_at = now() RETURNING 1")
    assert (await seen.find(key)).tenant_id == tenant
    with pytest.raises(Unauthenticated):
        await ApiKeys(database).find(key)


async def test_strangers_with_made_up_keys_are_shed(database: Database) -> None:
    keys = ApiKeys(database)
    made_up = [f"ak_{'0' * 26}_{number:064x}" for number in range(LOOKUPS_WAITING_MAX + 50)]
    outcomes = await asyncio.gather(*(keys.find(key) for key in made_up), return_exceptions=True)
    kinds = {type(outcome) for outcome in outcomes}
    assert kinds == {Unauthenticated, Overloaded}
    with pytest.raises(Unauthenticated):
        await keys.find(made_up[0])
