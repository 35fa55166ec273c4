"""From events to a tenant's own rows: contact, conversation, message, status; and a turn where one is due.

The first writer of clear text, so it masks. Everything is unique by the provider's id: an event that comes again
changes nothing. One tenant's events are written in one transaction, together with their being done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from channels.events import (
    EVENT,
    Event,
    Media,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    ReactionChanged,
    StatusChanged,
    Unknown,
)
from core.crypto import Sealed, Sealer
from core.errors import ChowkError, FenceLost
from core.ids import MessageId, TenantId, new_id
from core.log import logger
from core.settings import TurnSettings, load
from core.telemetry import trace_id
from db.pools import Connection, Database
from db.transactions import queue_tx, tenant_tx
from inbox.changes import apply_change, apply_status, recompute
from inbox.contacts import ConversationRef, contact_of, conversation_of
from inbox.mask import mask
from inbox.turns import request_turn

log = logger(__name__)

LEASE_S = 30
RETRY_S = 1
ERROR_CHARACTERS_MAX = 2_000
#: A row that was claimed this often and never finished kills its worker; `inbox.sweep` makes it a dead letter.
ATTEMPTS_MAX = 5

CLAIM = """
UPDATE core.inbox_events SET lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s), fence = fence + 1,
       attempts = attempts + 1
WHERE id IN (
  SELECT id FROM core.inbox_events
  WHERE state = 'new' AND attempts < %(attempts_max)s AND (lease_until IS NULL OR lease_until < clock_timestamp())
  ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id, tenant_id, account_id, event_sealed, event_wrapped_key, attempts, fence, trace_id, received_at
"""

FINISH = """
UPDATE core.inbox_events e SET state = 'done', lease_until = NULL, error = NULL, event_sealed = NULL,
       event_wrapped_key = NULL
FROM unnest(%(ids)s::bigint[], %(fences)s::bigint[]) AS mine (id, fence)
WHERE e.id = mine.id AND e.fence = mine.fence AND e.state = 'new'
"""

#: A cause that may pass costs no attempt and is tried again soon; any other is a dead letter at once.
FAIL = """
UPDATE core.inbox_events SET error = %(error)s, state = CASE WHEN %(retryable)s THEN state ELSE 'dead' END,
       attempts = attempts - CASE WHEN %(retryable)s THEN 1 ELSE 0 END,
       lease_until = CASE WHEN %(retryable)s THEN clock_timestamp() + make_interval(secs => %(retry_s)s) END
WHERE id = %(id)s AND fence = %(fence)s AND state = 'new'
"""

INSERT_MESSAGE = """
INSERT INTO messages (id, conversation_id, account_id, direction, author, kind, text, payload, attachments, faults,
                      masked_hashes, provider_message_id, reply_to, provider_ts, received_ts, status, needs_answer,
                      trace_id)
VALUES (%(id)s, %(conversation_id)s, %(account_id)s, %(direction)s, %(author)s, %(kind)s, %(text)s, %(payload)s,
        %(attachments)s, %(faults)s, %(masked_hashes)s, %(provider_message_id)s, %(reply_to)s, %(provider_ts)s,
        %(received_ts)s, %(status)s, %(needs_answer)s, %(trace_id)s)
ON CONFLICT DO NOTHING
RETURNING EXISTS (SELECT FROM message_changes c WHERE c.account_id = %(account_id)s
                  AND c.target_message_id = %(provider_message_id)s) AS changes_wait
"""

A_PERSON_ANSWERED = """
WITH silenced AS (
  UPDATE messages SET needs_answer = false WHERE conversation_id = %(id)s AND needs_answer AND run_id IS NULL)
UPDATE conversations SET owner = 'person' WHERE id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class Account:
    """What exploding must know of the account that an event belongs to."""

    tenant_id: TenantId
    id: str
    channel: str
    debounce_ms: int


@dataclass(frozen=True, slots=True)
class Masking:
    """A text that may be stored and the keyed hashes of what was masked in it."""

    text: str | None
    hashes: list[str]


async def explode_due(database: Database, sealer: Sealer, *, limit: int) -> int:
    """Claim up to `limit` events and write them into their tenants' rows; gives how many were claimed."""
    async with queue_tx(database, commit="events.claim") as connection:
        cursor = await connection.execute(CLAIM, {"lease_s": LEASE_S, "limit": limit, "attempts_max": ATTEMPTS_MAX})
        rows = await cursor.fetchall()
    rows.sort(key=lambda row: (row["tenant_id"], row["id"]))
    for tenant_id, group in groupby(rows, key=lambda row: row["tenant_id"]):
        await _explode_or_isolate(database, sealer, TenantId(tenant_id), list(group))
    return len(rows)


async def _explode_or_isolate(
    database: Database, sealer: Sealer, tenant_id: TenantId, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write all rows in one transaction; if one of them spoils it, halve until that one stands alone."""
    try:
        async with tenant_tx(database, tenant_id, commit="explode") as connection:
            await _explode(connection, sealer, tenant_id, rows)
    except (ChowkError, psycopg.Error) as error:
        if len(rows) == 1 or (isinstance(error, ChowkError) and error.retryable):
            await _fail(database, rows, error)
            return
        middle = len(rows) // 2
        await _explode_or_isolate(database, sealer, tenant_id, rows[:middle])
        await _explode_or_isolate(database, sealer, tenant_id, rows[middle:])


async def _explode(
    connection: Connection, sealer: Sealer, tenant_id: TenantId, rows: Sequence[Mapping[str, Any]]
) -> None:
    accounts = await _accounts(connection, tenant_id, {row["account_id"] for row in rows})
    for row in rows:
        trace_id.set(row["trace_id"])
        sealed = Sealed(row["event_sealed"], row["event_wrapped_key"])
        event = EVENT.validate_json(sealer.open(sealed, context=f"event:{row['account_id']}"))
        await _apply(connection, sealer, accounts[row["account_id"]], event, row)
    finished = await connection.execute(
        FINISH, {"ids": [row["id"] for row in rows], "fences": [row["fence"] for row in rows]}
    )
    if finished.rowcount != len(rows):
        raise FenceLost(f"{len(rows) - finished.rowcount} events were taken over while they were being written")


async def _accounts(connection: Connection, tenant_id: TenantId, ids: set[str]) -> dict[str, Account]:
    default_ms = load(TurnSettings).debounce_ms
    cursor = await connection.execute(
        "SELECT id, channel, debounce_ms FROM core.accounts WHERE tenant_id = current_user AND id = ANY(%s)",
        (list(ids),),
    )
    return {
        row["id"]: Account(
            tenant_id, row["id"], row["channel"], default_ms if row["debounce_ms"] is None else row["debounce_ms"]
        )
        for row in await cursor.fetchall()
    }


async def _apply(
    connection: Connection, sealer: Sealer, account: Account, event: Event, row: Mapping[str, Any]
) -> None:
    match event:
        case MessageReceived():
            await _message_received(connection, sealer, account, event, row)
        case MessageEchoed():
            await _message_echoed(connection, sealer, account, event, row)
        case MessageEdited() | MessageRevoked() | ReactionChanged():
            contact_id = await contact_of(connection, account.id, event.sender)
            text = _masked(sealer, event.text).text if isinstance(event, MessageEdited) else None
            await apply_change(connection, account.id, contact_id, event, text=text)
        case StatusChanged():
            await apply_status(connection, account.id, event)
        case Unknown():
            log.info("event_unknown", account_id=account.id, label=event.label)


async def _message_received(
    connection: Connection, sealer: Sealer, account: Account, event: MessageReceived, row: Mapping[str, Any]
) -> None:
    conversation = await _conversation(connection, account, event.sender)
    needs_answer = conversation.owner != "person" and event.message_kind not in ("system", "unsupported")
    is_new = await _insert_message(
        connection, sealer, account, conversation, event, row,
        direction="inbound", author="contact", status="received", needs_answer=needs_answer,
        payload=event.payload, reply_to=event.reply_to,
        faults=[fault.model_dump() for fault in event.faults],
    )  # fmt: skip
    if is_new and needs_answer:
        await request_turn(
            connection,
            tenant_id=account.tenant_id,
            conversation_id=conversation.id,
            debounce_ms=account.debounce_ms,
        )


async def _message_echoed(
    connection: Connection, sealer: Sealer, account: Account, event: MessageEchoed, row: Mapping[str, Any]
) -> None:
    """A human wrote in the provider's own app: from now on the agent is silent."""
    conversation = await _conversation(connection, account, event.recipient)
    is_new = await _insert_message(
        connection, sealer, account, conversation, event, row,
        direction="outbound", author="human", status="sent", needs_answer=False,
        payload=None, reply_to=None, faults=[],
    )  # fmt: skip
    if is_new:
        await connection.execute(A_PERSON_ANSWERED, {"id": conversation.id})


async def _insert_message(
    connection: Connection,
    sealer: Sealer,
    account: Account,
    conversation: ConversationRef,
    event: MessageReceived | MessageEchoed,
    row: Mapping[str, Any],
    **columns: Any,  # Any: the columns in which the two directions differ
) -> bool:
    masking = _masked(sealer, event.text)
    values = {
        "id": MessageId(new_id("msg")),
        "conversation_id": conversation.id,
        "account_id": account.id,
        "kind": event.message_kind,
        "text": masking.text,
        "masked_hashes": masking.hashes,
        "attachments": Jsonb([_attachment(sealer, media) for media in event.media]),
        "provider_message_id": event.provider_message_id,
        "provider_ts": event.provider_ts,
        "received_ts": row["received_at"],
        "trace_id": row["trace_id"],
    }
    cursor = await connection.execute(INSERT_MESSAGE, values | columns | {"faults": Jsonb(columns["faults"])})
    inserted = await cursor.fetchone()
    if inserted is not None and inserted["changes_wait"]:
        await recompute(connection, account.id, event.provider_message_id)
    return inserted is not None


async def _conversation(connection: Connection, account: Account, person: Any) -> ConversationRef:
    return await conversation_of(
        connection, tenant_id=account.tenant_id, account_id=account.id, channel=account.channel, person=person
    )


def _masked(sealer: Sealer, text: str | None) -> Masking:
    if text is None:
        return Masking(None, [])
    masked = mask(text)
    return Masking(masked.text, [sealer.keyed_hash(number) for number in masked.numbers])


def _attachment(sealer: Sealer, media: Media) -> dict[str, object]:
    return {
        "id": new_id("att"),
        "mime": media.mime,
        "name": _masked(sealer, media.name).text,
        "size_bytes": None,
        "state": "remote",
        "provider_media_id": media.provider_media_id,
        "sha256": media.sha256,
        "voice": media.voice,
    }


async def _fail(database: Database, rows: Sequence[Mapping[str, Any]], error: Exception) -> None:
    retryable = isinstance(error, ChowkError) and error.retryable
    log.warning("events_not_written", event_ids=[row["id"] for row in rows], error=str(error), retryable=retryable)
    failure = {"error": str(error)[:ERROR_CHARACTERS_MAX], "retryable": retryable, "retry_s": RETRY_S}
    async with queue_tx(database, commit="explode_failed") as connection, connection.cursor() as cursor:
        await cursor.executemany(FAIL, [{"id": row["id"], "fence": row["fence"]} | failure for row in rows])
