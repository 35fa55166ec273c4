"""From events to a tenant's own rows: contact, conversation, message, status; and a turn where one is due.

Everything is unique by the provider's id: an event that comes again changes nothing. One tenant's events are written
in one transaction, together with their being done.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from channels.events import (
    EVENT,
    Event,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    Person,
    ReactionChanged,
    StatusChanged,
    Unknown,
)
from channels.registry import CHANNELS
from core.crypto import Sealed, Sealer
from core.errors import ChowkError, FenceLost
from core.ids import ConversationId, TenantId
from core.log import logger
from core.settings import TurnSettings, load
from core.telemetry import trace_id
from db.pools import Connection, Database
from db.transactions import queue_tx, tenant_tx
from inbox.changes import apply_change, apply_status
from inbox.claim import Row, claim_events
from inbox.contacts import ConversationRef, contact_of, conversation_of
from inbox.debounce import Ending, ending_of, quiet_base_ms, quiet_ms
from inbox.hold import hold_conversations, in_one_order
from inbox.messages import insert_message, masked
from inbox.turns import request_turn

log = logger(__name__)

RETRY_S = 1
ERROR_CHARACTERS_MAX = 2_000

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

#: A question that waited for a person has found one: its run ends by the answer that silence stands for.
A_PERSON_ANSWERED = """
WITH silenced AS (
  UPDATE messages SET needs_answer = false WHERE conversation_id = %(id)s AND needs_answer AND run_id IS NULL
), settled AS (
  UPDATE core.runs SET due_at = clock_timestamp(),
         waits_for = waits_for || jsonb_build_object('until', clock_timestamp())
  WHERE conversation_id = %(id)s AND state = 'waiting' AND graph = 'hand_off'
)
UPDATE conversations SET owner = 'person' WHERE id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class Account:
    """What exploding must know of the account that an event belongs to."""

    id: str
    channel: str
    debounce_ms: int


@dataclass(frozen=True, slots=True)
class Burst:
    """What the conversation's next turn waits for: how its newest message reads, and when the last ones were said."""

    debounce_ms: int
    ending: Ending
    said_at: Sequence[datetime]
    trace_id: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of one tenant that are written in one transaction."""

    connection: Connection
    sealer: Sealer
    tenant_id: TenantId
    accounts: Mapping[str, Account]
    #: Found once, however much somebody wrote.
    conversations: dict[tuple[str, Person], ConversationRef] = field(default_factory=dict[tuple[str, Person], Any])
    bursts: dict[ConversationId, Burst] = field(default_factory=dict[ConversationId, Burst])


async def explode_due(database: Database, sealer: Sealer, *, limit: int) -> int:
    """Claim up to `limit` events and write them into their tenants' rows; gives how many were claimed.

    Who has few is not kept waiting by who has many.
    """
    rows = await claim_events(database, limit=limit)
    of_tenant: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_tenant[row["tenant_id"]].append(row)
    for tenant_id, group in sorted(of_tenant.items(), key=lambda one: (len(one[1]), one[0])):
        await _explode_or_isolate(database, sealer, TenantId(tenant_id), group)
    return len(rows)


async def _explode_or_isolate(database: Database, sealer: Sealer, tenant_id: TenantId, rows: Sequence[Row]) -> None:
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


async def _explode(connection: Connection, sealer: Sealer, tenant_id: TenantId, rows: Sequence[Row]) -> None:
    accounts = await _accounts(connection, {row["account_id"] for row in rows})
    batch = Batch(connection, sealer, tenant_id, accounts)
    opened = in_one_order([(_opened(sealer, row), row) for row in rows])
    await hold_conversations(connection, opened)
    for event, row in opened:
        trace_id.set(row["trace_id"])
        await _apply(batch, accounts[row["account_id"]], event, row)
    await _request_turns(batch)
    finished = await connection.execute(
        FINISH, {"ids": [row["id"] for row in rows], "fences": [row["fence"] for row in rows]}
    )
    if finished.rowcount != len(rows):
        raise FenceLost(f"{len(rows) - finished.rowcount} events were taken over while they were being written")


def _opened(sealer: Sealer, row: Row) -> Event:
    sealed = Sealed(row["event_sealed"], row["event_wrapped_key"])
    return EVENT.validate_json(sealer.open(sealed, context=f"event:{row['account_id']}"))


async def _accounts(connection: Connection, ids: set[str]) -> dict[str, Account]:
    default_ms = load(TurnSettings).debounce_ms
    cursor = await connection.execute(
        "SELECT id, channel, debounce_ms FROM core.accounts WHERE tenant_id = current_user AND id = ANY(%s)",
        (list(ids),),
    )
    found: dict[str, Account] = {}
    for row in await cursor.fetchall():
        of_channel = CHANNELS[row["channel"]].debounce_ms if row["channel"] in CHANNELS else None
        base_ms = quiet_base_ms(of_account=row["debounce_ms"], of_channel=of_channel, default=default_ms)
        found[row["id"]] = Account(row["id"], row["channel"], base_ms)
    return found


async def _apply(batch: Batch, account: Account, event: Event, row: Row) -> None:
    match event:
        case MessageReceived():
            await _message_received(batch, account, event, row)
        case MessageEchoed():
            await _message_echoed(batch, account, event, row)
        case MessageEdited() | MessageRevoked() | ReactionChanged():
            contact_id = await contact_of(batch.connection, account.id, event.sender)
            text = masked(batch.sealer, event.text).text if isinstance(event, MessageEdited) else None
            await apply_change(batch.connection, account.id, contact_id, event, text=text)
        case StatusChanged():
            await apply_status(batch.connection, account.id, event)
        case Unknown():
            log.info("event_unknown", account_id=account.id, label=event.label)


async def _message_received(batch: Batch, account: Account, event: MessageReceived, row: Row) -> None:
    conversation = await _conversation(batch, account, event.sender)
    needs_answer = conversation.owner != "person" and event.message_kind not in ("system", "unsupported")
    inserted = await insert_message(
        batch.connection, batch.sealer, account.id, conversation, event, row,
        direction="inbound", author="contact", status="received", needs_answer=needs_answer,
        payload=event.payload, reply_to=event.reply_to,
        faults=[fault.model_dump() for fault in event.faults],
    )  # fmt: skip
    if inserted is None or not needs_answer:
        return
    # One that arrives late says nothing of how the burst ends.
    ending: Ending = ending_of(event) if inserted.is_newest else "open"
    said_at = [*inserted.earlier, inserted.said_at]
    batch.bursts[conversation.id] = Burst(account.debounce_ms, ending, said_at, row["trace_id"])


async def _message_echoed(batch: Batch, account: Account, event: MessageEchoed, row: Row) -> None:
    """A human wrote in the provider's own app: from now on the agent is silent."""
    conversation = await _conversation(batch, account, event.recipient)
    inserted = await insert_message(
        batch.connection, batch.sealer, account.id, conversation, event, row,
        direction="outbound", author="human", status="sent", needs_answer=False,
        payload=None, reply_to=None, faults=[],
    )  # fmt: skip
    if inserted is not None:
        await batch.connection.execute(A_PERSON_ANSWERED, {"id": conversation.id})
        batch.bursts.pop(conversation.id, None)
        batch.conversations.clear()


async def _request_turns(batch: Batch) -> None:
    """One request for each conversation, always in the same order, so that two workers never wait for each other."""
    for conversation_id, burst in sorted(batch.bursts.items()):
        trace_id.set(burst.trace_id)
        await request_turn(
            batch.connection,
            tenant_id=batch.tenant_id,
            conversation_id=conversation_id,
            debounce_ms=burst.debounce_ms,
            quiet_ms=quiet_ms(burst.debounce_ms, burst.ending, burst.said_at),
        )


async def _conversation(batch: Batch, account: Account, person: Person) -> ConversationRef:
    known = batch.conversations.get((account.id, person))
    if known is None:
        known = await conversation_of(
            batch.connection, tenant_id=batch.tenant_id, account_id=account.id, channel=account.channel, person=person
        )
        batch.conversations[account.id, person] = known
    return known


async def _fail(database: Database, rows: Sequence[Row], error: Exception) -> None:
    retryable = isinstance(error, ChowkError) and error.retryable
    log.warning("events_not_written", event_ids=[row["id"] for row in rows], error=str(error), retryable=retryable)
    failure = {"error": str(error)[:ERROR_CHARACTERS_MAX], "retryable": retryable, "retry_s": RETRY_S}
    async with queue_tx(database, commit="explode_failed") as connection, connection.cursor() as cursor:
        await cursor.executemany(FAIL, [{"id": row["id"], "fence": row["fence"]} | failure for row in rows])
