"""Arranging dead letters of the inbox."""

from typing import Any

from core.crypto import Sealer
from core.ids import TenantId, new_id
from db.jobs import schedule
from db.pools import Database
from db.transactions import queue_tx, tenant_tx
from inbox.explode import explode_due
from inbox.split import split_due
from tests.builders import Organisation, a_body, a_change, a_number, a_text, a_wamid, store

NO_ENVELOPE = b'{"object": "whatsapp_business_account", "entry": '


async def queue_rows(database: Database, query: str, *values: object) -> list[dict[str, Any]]:
    """What a query of the queue role gives."""
    async with queue_tx(database, commit="test") as connection:
        cursor = await connection.execute(query.encode(), values)
        return [] if cursor.description is None else await cursor.fetchall()


async def a_dead_body(
    database: Database,
    sealer: Sealer,
    source_id: str,
    tenant_id: TenantId | None,
    *,
    channel: str = "whatsapp",
    body: bytes = NO_ENVELOPE,
) -> int:
    """A body of this source that could not be split; gives its id."""
    await store(database, sealer, source_id, body + b" " * int(a_number()[-4:]), channel=channel, tenant_id=tenant_id)
    await split_due(database, sealer, limit=64)
    [row] = await queue_rows(
        database, "SELECT id, state FROM core.inbox WHERE source_id = %s ORDER BY id DESC LIMIT 1", source_id
    )
    assert row["state"] == "dead"
    return row["id"]


async def a_dead_event(database: Database, sealer: Sealer, organisation: Organisation, text: str = "Namaste") -> int:
    """An event whose worker died again and again, as the sweep leaves it; gives its id."""
    body = a_body([a_change(organisation.phone_number_id, messages=[a_text(text, sender=a_number())])])
    await store(database, sealer, organisation.account_id, body, tenant_id=organisation.tenant_id)
    await split_due(database, sealer, limit=64)
    [row] = await queue_rows(
        database,
        """UPDATE core.inbox_events SET state = 'dead', attempts = 5, error = 'its worker died 5 times'
           WHERE account_id = %s AND state = 'new' RETURNING id, inbox_id""",
        organisation.account_id,
    )
    await queue_rows(database, "UPDATE core.inbox SET state = 'dead' WHERE id = %s", row["inbox_id"])
    return row["id"]


async def an_unrouted_event(
    database: Database, sealer: Sealer, app_id: str, phone_number_id: str, *, wamid: str | None = None
) -> int:
    """An event that came by the app for a number that nobody has registered; gives its id."""
    message = a_text("Is anybody there?", sender=a_number(), wamid=wamid or a_wamid())
    body = a_body([a_change(phone_number_id, messages=[message])])
    await store(database, sealer, app_id, body, channel="meta")
    await split_due(database, sealer, limit=64)
    await explode_due(database, sealer, limit=64)
    [row] = await queue_rows(
        database,
        "SELECT id, state, inbox_id FROM core.inbox_events WHERE account_id = %s ORDER BY id DESC LIMIT 1",
        f"{app_id}:{phone_number_id}",
    )
    assert row["state"] == "dead"
    await queue_rows(database, "UPDATE core.inbox SET state = 'dead' WHERE id = %s", row["inbox_id"])
    return row["id"]


async def a_dead_job(database: Database, tenant_id: TenantId, *, key: str | None = None, kind: str = "tidy") -> str:
    """A job that was given up; gives its id."""
    unique_key = key or new_id("key")
    async with tenant_tx(database, tenant_id, commit="test") as connection:
        now = await (await connection.execute("SELECT now() AS now")).fetchone()
        assert now is not None
        await schedule(
            connection, tenant_id=tenant_id, kind=kind, unique_key=unique_key, due_at=now["now"],
            payload={"message_id": "msg_1"}, lane=tenant_id,
        )  # fmt: skip
        cursor = await connection.execute(
            """UPDATE core.jobs SET state = 'dead', attempts = 8, error = 'NotFound: no such message',
                 finished_at = clock_timestamp()
               WHERE kind = %s AND unique_key = %s AND state = 'queued' RETURNING id""",
            (kind, unique_key),
        )
        row = await cursor.fetchone()
    assert row is not None
    return row["id"]


async def the_app_id(database: Database, organisation: Organisation) -> str:
    """The app that serves this organisation's account."""
    [row] = await queue_rows(database, "SELECT app_id FROM core.accounts WHERE id = %s", organisation.account_id)
    return row["app_id"]
