"""Events for an account that nobody had registered: once somebody has, they are given to its tenant.

In: a dead event without a tenant, and the body it came in, which says on which channel. Out: the same event, sealed
anew for its account, queued to be written. Who may speak for an account is decided as when bodies are split.
"""

import psycopg
from psycopg.rows import DictRow

from core.crypto import Sealed, Sealer
from core.errors import Conflict
from db.pools import Connection, Database
from db.transactions import queue_tx
from inbox.blobs import open_body
from inbox.dead_letters import REOPEN_BODY
from inbox.split import ACCOUNTS, CHANNEL_OF_APP_BODY

#: `look` found it dead just now; whoever acts meanwhile is met by ROUTE.
READ = """
SELECT e.account_id, e.event_key, e.event_sealed, e.event_wrapped_key, i.source_id, i.channel, i.body_sealed,
  i.body_wrapped_key, i.body_blob
FROM core.inbox_events e JOIN core.inbox i ON i.id = e.inbox_id
WHERE e.id = %(key)s AND e.tenant_id IS NULL AND e.state = 'dead' AND e.event_wrapped_key IS NOT NULL
"""

ROUTE = """
UPDATE core.inbox_events SET tenant_id = %(tenant_id)s, account_id = %(account_id)s, event_sealed = %(sealed)s,
  event_wrapped_key = %(wrapped_key)s, state = 'new', attempts = 0, lease_until = NULL
WHERE id = %(key)s AND tenant_id IS NULL AND state = 'dead' RETURNING inbox_id
"""


async def route_event(database: Database, sealer: Sealer, key: int) -> None:
    """Give a dead event without a tenant to the tenant whose account is registered by now, and have it written.

    Raises:
        Conflict: there is still no such account; or the event came again since; or somebody else acted on it.
        Broken: it does not open with this CHOWK_SECRET_KEY.
    """
    async with queue_tx(database, commit="unrouted.read") as connection:
        row = await (await connection.execute(READ, {"key": key})).fetchone()
    if row is None:
        raise _overtaken(key)
    channel = await _channel_of(sealer, row)
    event = sealer.open(Sealed(row["event_sealed"], row["event_wrapped_key"]), context=f"event:{row['account_id']}")
    try:
        async with queue_tx(database, commit="unrouted.route") as connection:
            owner = await _owner(connection, row, key, channel)
            sealed = sealer.seal(event, context=f"event:{owner['id']}")
            values = {
                "key": key,
                "tenant_id": owner["tenant_id"],
                "account_id": owner["id"],
                "sealed": sealed.ciphertext,
                "wrapped_key": sealed.wrapped_key,
            }
            routed = await (await connection.execute(ROUTE, values)).fetchone()
            if routed is None:
                raise _overtaken(key)
            await connection.execute(REOPEN_BODY, routed)
    except psycopg.errors.UniqueViolation:
        raise Conflict(
            f"event:{key} came again after its account was registered, and that one was taken in; discard this one"
        ) from None


async def _channel_of(sealer: Sealer, row: DictRow) -> str:
    """The channel that the event came by; where several share an app, the body says."""
    name_of = CHANNEL_OF_APP_BODY.get(row["channel"])
    return name_of(await open_body(sealer, row)) if name_of else row["channel"]


async def _owner(connection: Connection, row: DictRow, key: int, channel: str) -> DictRow:
    external_id = row["account_id"].removeprefix(f"{row['source_id']}:")
    wanted = {"channels": [channel], "external_ids": [external_id], "source": row["source_id"]}
    owner = await (await connection.execute(ACCOUNTS, wanted)).fetchone()
    if owner is None:
        raise Conflict(
            f"event:{key} still has no account: register the {channel} account {external_id!r} of this source, then"
            " retry"
        )
    return owner


def _overtaken(key: int) -> Conflict:
    return Conflict(f"event:{key} is not dead any more: somebody else acted on it at this moment")
