"""Two workers write what one person did at the same moment; neither may overlook what the other writes."""

import asyncio
from typing import Any

import pytest

from channels.events import MessageEdited
from channels.whatsapp.inbound import normalise
from core.crypto import Sealer
from core.ids import new_id
from db.pools import Connection, Database
from db.transactions import queue_tx, tenant_tx
from inbox.changes import apply_change
from inbox.contacts import contact_of
from inbox.explode import explode_due
from inbox.split import split_due
from tests.builders import (
    Organisation,
    a_body,
    a_change,
    a_number,
    a_text,
    a_wamid,
    an_organisation,
    receive,
    rows,
    store,
)
from tests.conftest import Stack
from tests.eventually import eventually

A_QUEUED_TURN = """
INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state)
SELECT %s, current_user, id, 'turn', 'conversation', id, 'queued' FROM conversations
"""
WAITING_FOR_A_LOCK = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def organisation(stack: Stack, sealer: Sealer) -> Organisation:
    return an_organisation(stack.admin_url, sealer)


def an_edit(target: str, text: str, *, sender: str, timestamp: int) -> dict[str, Any]:
    edit = {"original_message_id": target, "message": {"type": "text", "text": {"body": text}}}
    return {"from": sender, "id": a_wamid(), "timestamp": str(timestamp), "type": "edit", "edit": edit}


async def write_edit(connection: Connection, organisation: Organisation, edit: dict[str, Any]) -> None:
    (routed,) = normalise(a_body([a_change(organisation.phone_number_id, messages=[edit])]))
    assert isinstance(routed.event, MessageEdited)
    contact_id = await contact_of(connection, organisation.account_id, routed.event.sender)
    await apply_change(connection, organisation.account_id, contact_id, routed.event, text=routed.event.text)


async def until_done_or_waiting(database: Database, *tasks: asyncio.Task[Any]) -> None:
    """Until each of these has ended or waits for what another transaction holds."""

    async def found() -> bool:
        async with database.app.connection() as connection:
            row = await (await connection.execute(WAITING_FOR_A_LOCK)).fetchone()
        assert row is not None
        return row["n"] >= sum(not task.done() for task in tasks)

    await eventually(found)


async def test_of_two_edits_written_at_the_same_moment_the_later_one_stands(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    sender, wamid = a_number(), a_wamid()
    await receive(database, sealer, organisation, a_text("first", sender=sender, wamid=wamid))
    later = an_edit(wamid, "third", sender=sender, timestamp=1_790_000_020)
    earlier = an_edit(wamid, "second", sender=sender, timestamp=1_790_000_010)

    async def write_earlier() -> None:
        async with tenant_tx(database, organisation.tenant_id, commit="test") as connection:
            await write_edit(connection, organisation, earlier)

    async with tenant_tx(database, organisation.tenant_id, commit="test") as connection:
        await write_edit(connection, organisation, later)
        other = asyncio.create_task(write_earlier())
        await until_done_or_waiting(database, other)
    await other
    assert await rows(database, organisation.tenant_id, "SELECT text FROM messages") == [{"text": "third"}]


async def test_an_edit_written_at_the_same_moment_as_its_message_is_not_overlooked(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    sender, wamid = a_number(), a_wamid()
    await receive(database, sealer, organisation, a_text("an earlier one", sender=sender))
    async with queue_tx(database, commit="test") as connection:
        await connection.execute(
            "UPDATE core.runs SET state = 'succeeded' WHERE tenant_id = %s", (organisation.tenant_id,)
        )
    for part in (
        a_text("before", sender=sender, wamid=wamid),
        an_edit(wamid, "after", sender=sender, timestamp=1_790_000_010),
    ):
        body = a_body([a_change(organisation.phone_number_id, messages=[part])])
        await store(database, sealer, organisation.account_id, body)
    while await split_due(database, sealer, limit=64):
        pass
    # The message is written and its transaction waits for the turn that this one has asked for, and not committed yet.
    async with tenant_tx(database, organisation.tenant_id, commit="test") as connection:
        await connection.execute(A_QUEUED_TURN, (new_id("run"),))
        message = asyncio.create_task(explode_due(database, sealer, limit=1))
        await until_done_or_waiting(database, message)
        edit = asyncio.create_task(explode_due(database, sealer, limit=1))
        await until_done_or_waiting(database, message, edit)
    assert await asyncio.gather(message, edit) == [1, 1]
    found = await rows(
        database, organisation.tenant_id, "SELECT text, edited FROM messages WHERE provider_message_id = %s", wamid
    )
    assert found == [{"text": "after", "edited": True}]
