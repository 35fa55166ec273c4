from typing import Any

import pytest

from core.crypto import Sealer
from db.pools import Database
from db.transactions import queue_tx
from inbox.split import split_due
from inbox.sweep import sweep
from tests.builders import (
    Organisation,
    a_body,
    a_change,
    a_number,
    a_text,
    an_organisation,
    receive,
    rows,
    store,
    take_in,
    the_meta_app,
)
from tests.conftest import Stack


@pytest.fixture
def organisation(stack: Stack, sealer: Sealer) -> Organisation:
    return an_organisation(stack.admin_url, sealer)


async def bodies(database: Database, source_id: str) -> list[dict[str, Any]]:
    async with queue_tx(database, commit="test") as connection:
        cursor = await connection.execute(
            """SELECT state, body_masked, body_sealed IS NOT NULL AS sealed, body_wrapped_key IS NOT NULL AS openable,
                      error FROM core.inbox WHERE source_id = %s ORDER BY id""",
            (source_id,),
        )
        return await cursor.fetchall()


async def closed(database: Database) -> int:
    """How many bodies are closed, of all tenants."""
    async with queue_tx(database, commit="test") as connection:
        row = await (
            await connection.execute("SELECT count(*) AS bodies FROM core.inbox WHERE state IN ('done', 'dead')")
        ).fetchone()
    assert row is not None
    return row["bodies"]


async def make_older(database: Database, source_id: str, age: str) -> None:
    async with queue_tx(database, commit="test") as connection:
        await connection.execute(
            "UPDATE core.inbox SET received_at = received_at - %s::interval WHERE source_id = %s", (age, source_id)
        )


async def test_a_finished_body_is_closed_and_kept_sealed_for_its_time(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    await receive(database, sealer, organisation, a_text("hello", sender=a_number()))
    await sweep(database, sealer)
    (body,) = await bodies(database, organisation.account_id)
    assert (body["state"], body["sealed"], body["openable"], body["body_masked"]) == ("done", True, True, None)


async def test_a_finished_body_is_closed_before_older_ones_that_are_not(
    database: Database, sealer: Sealer, organisation: Organisation, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = an_organisation(stack.admin_url, sealer)
    body = a_body([a_change(other.phone_number_id, messages=[a_text("older", sender=a_number())])])
    await store(database, sealer, other.account_id, body)
    while await split_due(database, sealer, limit=64):
        pass
    async with queue_tx(database, commit="test") as connection:
        await connection.execute(
            "UPDATE core.inbox_events SET lease_until = now() + interval '1 hour' WHERE account_id = %s",
            (other.account_id,),
        )
    await receive(database, sealer, organisation, a_text("newer", sender=a_number()))
    monkeypatch.setattr("inbox.sweep.CLOSED_AT_ONCE_MAX", 1)
    while not [row for row in await bodies(database, organisation.account_id) if row["state"] == "done"]:
        before = await closed(database)
        await sweep(database, sealer)
        assert await closed(database) > before
    assert [row["state"] for row in await bodies(database, other.account_id)] == ["split"]


async def test_after_its_time_only_the_masked_text_is_left(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    await receive(database, sealer, organisation, a_text("hello again", sender=a_number()))
    await make_older(database, organisation.account_id, "25 hours")
    await sweep(database, sealer)
    (body,) = await bodies(database, organisation.account_id)
    assert (body["sealed"], body["openable"]) == (False, False)
    assert "hello again" in body["body_masked"]


async def test_a_body_with_an_aadhaar_number_is_erased_at_once(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    await receive(database, sealer, organisation, a_text("aadhaar 2341 2341 2346", sender=a_number()))
    await sweep(database, sealer)
    (body,) = await bodies(database, organisation.account_id)
    assert (body["sealed"], body["openable"]) == (False, False)
    assert "XXXX XXXX 2346" in body["body_masked"]
    assert "2341" not in body["body_masked"]


async def test_of_a_body_that_mixes_tenants_nothing_is_left_in_clear(
    database: Database, sealer: Sealer, stack: Stack
) -> None:
    the_meta_app(stack.admin_url, sealer)
    first, second = (an_organisation(stack.admin_url, sealer, app="meta") for _ in range(2))
    body = a_body(
        *(
            [a_change(one.phone_number_id, messages=[a_text("for one only", sender=a_number())])]
            for one in (first, second)
        )
    )
    async with queue_tx(database, commit="test") as connection:
        found = await connection.execute("SELECT app_id FROM core.accounts WHERE id = %s", (first.account_id,))
        row = await found.fetchone()
    assert row is not None
    await store(database, sealer, row["app_id"], body, channel="meta")
    await take_in(database, sealer)
    await make_older(database, row["app_id"], "25 hours")
    await sweep(database, sealer)
    *_, mixed = await bodies(database, row["app_id"])
    assert (mixed["state"], mixed["sealed"], mixed["body_masked"]) == ("done", False, None)
    for one in (first, second):
        assert len(await rows(database, one.tenant_id, "SELECT FROM messages")) == 1


async def test_a_body_that_kills_its_worker_again_and_again_is_a_dead_letter(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    await store(database, sealer, organisation.account_id, a_body([a_change(organisation.phone_number_id)]))
    async with queue_tx(database, commit="test") as connection:
        await connection.execute(
            """UPDATE core.inbox SET attempts = 5, lease_until = clock_timestamp() - interval '1 s'
               WHERE source_id = %s""",
            (organisation.account_id,),
        )
    await take_in(database, sealer)
    await sweep(database, sealer)
    (body,) = await bodies(database, organisation.account_id)
    assert body["state"] == "dead"
    assert "died 5 times" in body["error"]


async def test_a_done_event_keeps_no_text(database: Database, sealer: Sealer, organisation: Organisation) -> None:
    await receive(database, sealer, organisation, a_text("secret words", sender=a_number()))
    events = await rows(
        database, organisation.tenant_id, "SELECT state, event_sealed, event_wrapped_key FROM core.inbox_events"
    )
    assert events == [{"state": "done", "event_sealed": None, "event_wrapped_key": None}]
