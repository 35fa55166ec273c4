"""From raw bodies to events: one POST may carry many events of many tenants, in any batching.

In: inbox rows, claimed with a lease and a fence. Out: one sealed `inbox_events` row per event, unique per account and
event key, so that a body that comes again in other batches adds nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from channels import meta
from channels.events import EVENT, MessageEchoed, MessageEdited, MessageReceived, Unknown
from channels.protocol import RoutedEvent
from channels.registry import channel
from core.crypto import Sealer
from core.errors import ChowkError
from core.log import logger
from core.telemetry import EVENTS
from db.pools import Connection, Database
from db.transactions import queue_tx
from inbox.blobs import open_body
from inbox.claim import Row, claim_bodies
from inbox.mask import mask

log = logger(__name__)

RETRY_S = 1
#: An app's webhook carries several channels; the body says which.
CHANNEL_OF_APP_BODY: Mapping[str, Callable[[bytes], str]] = MappingProxyType({"meta": meta.channel_name_of})

ACCOUNTS = """
SELECT a.channel, a.external_id, a.id, a.tenant_id FROM core.accounts a
WHERE (a.channel, a.external_id) IN (SELECT * FROM unnest(%(channels)s::text[], %(external_ids)s::text[]))
  AND (a.id = %(source)s OR a.app_id = %(source)s)
"""

INSERT_EVENTS = """
INSERT INTO core.inbox_events (inbox_id, position, tenant_id, account_id, event_key, kind, event_sealed,
                               event_wrapped_key, state, error, trace_id, received_at)
VALUES (%(inbox_id)s, %(position)s, %(tenant_id)s, %(account_id)s, %(event_key)s, %(kind)s, %(sealed)s,
        %(wrapped_key)s, %(state)s, %(error)s, %(trace_id)s, %(received_at)s)
ON CONFLICT DO NOTHING
"""

FINISH = """
UPDATE core.inbox SET state = 'split', lease_until = NULL, error = NULL, sensitive = %(sensitive)s
WHERE id = %(id)s AND fence = %(fence)s AND state = 'new'
"""

#: A cause that may pass costs no attempt and is tried again soon; any other is a dead letter at once.
FAIL = """
UPDATE core.inbox SET error = %(error)s, state = CASE WHEN %(retryable)s THEN state ELSE 'dead' END,
       attempts = attempts - CASE WHEN %(retryable)s THEN 1 ELSE 0 END,
       lease_until = CASE WHEN %(retryable)s THEN clock_timestamp() + make_interval(secs => %(retry_s)s) END
WHERE id = %(id)s AND fence = %(fence)s AND state = 'new'
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an event is."""

    account_id: str
    tenant_id: str


@dataclass(frozen=True, slots=True)
class SplitBody:
    """One claimed body and the events that it turned out to hold."""

    row: Row
    channel_name: str
    events: Sequence[RoutedEvent]


async def split_due(database: Database, sealer: Sealer, *, limit: int) -> int:
    """Claim up to `limit` bodies and write their events; gives how many bodies were claimed.

    A body that is nobody's envelope becomes a dead letter with its cause; its neighbours are unharmed.
    """
    rows = await claim_bodies(database, limit=limit)
    if not rows:
        return 0
    bodies: list[SplitBody] = []
    for row in rows:
        try:
            bodies.append(await _normalised(sealer, row))
        except ChowkError as error:
            await _fail(database, row, error)
    if bodies:
        async with queue_tx(database, commit="inbox.split") as connection:
            await _write(connection, sealer, bodies)
    return len(rows)


async def _normalised(sealer: Sealer, row: Row) -> SplitBody:
    body = await open_body(sealer, row)
    name_of = CHANNEL_OF_APP_BODY.get(row["channel"])
    name = name_of(body) if name_of else row["channel"]
    return SplitBody(row, name, channel(name).normalise(body))


async def _write(connection: Connection, sealer: Sealer, bodies: Sequence[SplitBody]) -> None:
    owners = await _owners(connection, bodies)
    parts: list[dict[str, Any]] = []  # Any: the values of one row
    for body in bodies:
        for position, routed in enumerate(body.events):
            owner = owners.get((body.row["source_id"], body.channel_name, routed.external_account_id))
            if owner is None and isinstance(routed.event, Unknown) and body.row["tenant_id"]:
                # What speaks of more than one number (a template, the business account) is of whoever signed it.
                owner = Owner(body.row["source_id"], body.row["tenant_id"])
            parts.append(_part(sealer, body, position, routed, owner))
            EVENTS.labels(body.channel_name, routed.event.kind).inc()
    async with connection.cursor() as cursor:
        if parts:
            await cursor.executemany(INSERT_EVENTS, parts)
        await cursor.executemany(
            FINISH,
            [{"id": b.row["id"], "fence": b.row["fence"], "sensitive": _is_sensitive(b.events)} for b in bodies],
        )


async def _owners(connection: Connection, bodies: Sequence[SplitBody]) -> dict[tuple[str, str, str], Owner]:
    """Whose each (source, channel, external account id) is: only accounts that this very source may speak for."""
    wanted = {(b.row["source_id"], b.channel_name, e.external_account_id) for b in bodies for e in b.events}
    if not wanted:
        return {}
    found: dict[tuple[str, str, str], Owner] = {}
    for source_id in {source for source, _, _ in wanted}:
        of_source = [(name, external_id) for source, name, external_id in wanted if source == source_id]
        cursor = await connection.execute(
            ACCOUNTS,
            {
                "channels": [name for name, _ in of_source],
                "external_ids": [external_id for _, external_id in of_source],
                "source": source_id,
            },
        )
        for row in await cursor.fetchall():
            found[source_id, row["channel"], row["external_id"]] = Owner(row["id"], row["tenant_id"])
    return found


def _part(
    sealer: Sealer, body: SplitBody, position: int, routed: RoutedEvent, owner: Owner | None
) -> dict[str, Any]:  # Any: the values of one row
    account_id = owner.account_id if owner else f"{body.row['source_id']}:{routed.external_account_id}"[:512]
    sealed = sealer.seal(EVENT.dump_json(routed.event), context=f"event:{account_id}")
    return {
        "inbox_id": body.row["id"],
        "position": position,
        "tenant_id": owner.tenant_id if owner else None,
        "account_id": account_id,
        "event_key": routed.event.event_key,
        "kind": routed.event.kind,
        "sealed": sealed.ciphertext,
        "wrapped_key": sealed.wrapped_key,
        "state": "new" if owner else "dead",
        "error": None if owner else f"unrouted: no account {routed.external_account_id!r} of this source",
        "trace_id": body.row["trace_id"],
        "received_at": body.row["received_at"],
    }


def _is_sensitive(events: Sequence[RoutedEvent]) -> bool:
    texts = (e.event.text for e in events if isinstance(e.event, MessageReceived | MessageEdited | MessageEchoed))
    return any(text and mask(text).numbers for text in texts)


async def _fail(database: Database, row: Row, error: ChowkError) -> None:
    log.warning("body_not_split", inbox_id=row["id"], error=error.message, retryable=error.retryable)
    values = {"id": row["id"], "fence": row["fence"], "error": error.message, "retry_s": RETRY_S}
    async with queue_tx(database, commit="inbox.split_failed") as connection:
        await connection.execute(FAIL, values | {"retryable": error.retryable})
