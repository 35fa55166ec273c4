import asyncio

import pytest

from core.crypto import Sealer
from core.errors import Broken, Conflict
from core.ids import TenantId
from db.pools import Database
from inbox.sweep import sweep
from inbox.unrouted import route_event
from tests.builders import (
    APP_SECRET,
    Organisation,
    a_body,
    a_change,
    a_number,
    a_text,
    a_wamid,
    an_organisation,
    rows,
    store,
    take_in,
    the_meta_app,
)
from tests.conftest import Stack
from tests.inbox.dead import an_unrouted_event, queue_rows, the_app_id

EVENT = """
SELECT e.state, e.tenant_id, e.account_id, e.error, i.state AS body_state
FROM core.inbox_events e JOIN core.inbox i ON i.id = e.inbox_id WHERE e.id = %s
"""


@pytest.fixture
async def app_id(database: Database, sealer: Sealer, stack: Stack) -> str:
    the_meta_app(stack.admin_url, sealer)
    return await the_app_id(database, an_organisation(stack.admin_url, sealer, app="meta"))


def register(stack: Stack, sealer: Sealer, phone_number_id: str, *, app: str | None = "meta") -> Organisation:
    """A tenant whose account is this number."""
    from channels.protocol import Secrets
    from channels.registration import add_account

    tenant_id: TenantId = an_organisation(stack.admin_url, sealer).tenant_id
    account_id = add_account(
        stack.admin_url, sealer, tenant_id=tenant_id, channel="whatsapp", external_id=phone_number_id, name="Late",
        secrets=Secrets(signing=(APP_SECRET,), access_token="token"), app=app,
    )  # fmt: skip
    return Organisation(tenant_id, account_id, phone_number_id)


async def test_an_event_for_a_number_that_is_registered_later_reaches_its_tenant(
    database: Database, sealer: Sealer, stack: Stack, app_id: str
) -> None:
    number = a_number()
    key = await an_unrouted_event(database, sealer, app_id, number)
    with pytest.raises(Conflict, match=f"register the whatsapp account '{number}'"):
        await route_event(database, sealer, key)
    late = register(stack, sealer, number)
    await route_event(database, sealer, key)
    [event] = await queue_rows(database, EVENT, key)
    assert (event["state"], event["tenant_id"], event["account_id"]) == ("new", late.tenant_id, late.account_id)
    assert event["error"].startswith("unrouted")
    await take_in(database, sealer)
    await sweep(database, sealer)
    [event] = await queue_rows(database, EVENT, key)
    assert (event["state"], event["error"], event["body_state"]) == ("done", None, "done")
    assert await rows(database, late.tenant_id, "SELECT text FROM messages") == [{"text": "Is anybody there?"}]


async def test_a_number_that_another_app_or_nobody_signs_for_stays_unrouted(
    database: Database, sealer: Sealer, stack: Stack, app_id: str
) -> None:
    number = a_number()
    key = await an_unrouted_event(database, sealer, app_id, number)
    late = register(stack, sealer, number, app=None)
    with pytest.raises(Conflict, match="still has no account"):
        await route_event(database, sealer, key)
    [event] = await queue_rows(database, EVENT, key)
    assert (event["state"], event["tenant_id"]) == ("dead", None)
    assert await rows(database, late.tenant_id, "SELECT FROM core.inbox_events") == []


async def test_an_event_that_came_again_since_is_not_taken_in_twice(
    database: Database, sealer: Sealer, stack: Stack, app_id: str
) -> None:
    number, wamid = a_number(), a_wamid()
    key = await an_unrouted_event(database, sealer, app_id, number, wamid=wamid)
    late = register(stack, sealer, number)
    again = a_body([a_change(number, messages=[a_text("Is anybody there?", sender=a_number(), wamid=wamid)])])
    await store(database, sealer, app_id, again, channel="meta")
    await take_in(database, sealer)
    with pytest.raises(Conflict, match="came again"):
        await route_event(database, sealer, key)
    assert len(await rows(database, late.tenant_id, "SELECT FROM messages")) == 1
    [event] = await queue_rows(database, EVENT, key)
    assert event["state"] == "dead"


async def test_two_operators_at_once_route_it_once(
    database: Database, sealer: Sealer, stack: Stack, app_id: str
) -> None:
    number = a_number()
    key = await an_unrouted_event(database, sealer, app_id, number)
    late = register(stack, sealer, number)
    outcomes = await asyncio.gather(*(route_event(database, sealer, key) for _ in range(3)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Conflict", "NoneType"]
    await take_in(database, sealer)
    assert len(await rows(database, late.tenant_id, "SELECT FROM messages")) == 1


async def test_with_another_key_of_this_installation_nothing_is_opened_or_changed(
    database: Database, sealer: Sealer, stack: Stack, app_id: str
) -> None:
    number = a_number()
    key = await an_unrouted_event(database, sealer, app_id, number)
    register(stack, sealer, number)
    with pytest.raises(Broken, match="does not open"):
        await route_event(database, Sealer(b"x" * 32), key)
    [event] = await queue_rows(database, EVENT, key)
    assert (event["state"], event["tenant_id"]) == ("dead", None)
