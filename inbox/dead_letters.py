"""Dead letters of the inbox and of the jobs: what there is of them, trying them again, letting them go.

A body that could not be split, an event that could not be written, a job that was given up. A body that was split is
none: its events are. What belongs to a tenant is looked for as that tenant; what belongs to nobody (`unrouted`) as the
queue role. A body may hold events of several tenants, so bodies and events are changed by the queue role.
"""

from typing import Any, Literal, TypeAlias

import psycopg
from psycopg.rows import DictRow

from core.errors import Conflict, NotFound
from core.ids import TenantId
from db.pools import Connection, Database
from db.transactions import queue_tx
from inbox.sweep import DEAD_LETTER_RETENTION_D

InboxKind: TypeAlias = Literal["body", "event"]

#: A tenant sees its own rows (the database's policy), the queue role what belongs to no tenant.
OF_ROLE = "(dead.tenant_id IS NULL) = (current_user = 'chowk_queue')"

#: Only what could not be split has an error of its own; a body with dead events has none.
BODIES = f"""
SELECT 'body:' || dead.id AS id, 'body' AS kind, dead.tenant_id, dead.channel AS what, dead.error AS cause,
  dead.attempts, NULL::text AS conversation_id, dead.source_id AS account_id, dead.trace_id,
  dead.received_at AS created_at, NULL::timestamptz AS died_at
FROM core.inbox dead WHERE dead.state = 'dead' AND dead.error IS NOT NULL AND {OF_ROLE}
"""

EVENTS = f"""
SELECT 'event:' || dead.id AS id, 'event' AS kind, dead.tenant_id, dead.kind AS what, dead.error AS cause,
  dead.attempts, NULL::text AS conversation_id, dead.account_id, dead.trace_id,
  dead.received_at AS created_at, NULL::timestamptz AS died_at
FROM core.inbox_events dead WHERE dead.state = 'dead' AND {OF_ROLE}
"""

JOBS = """
SELECT 'job:' || dead.id AS id, 'job' AS kind, dead.tenant_id, dead.kind AS what, dead.error AS cause,
  dead.attempts, NULL::text AS conversation_id, NULL::text AS account_id, dead.trace_id,
  dead.created_at, dead.finished_at AS died_at
FROM core.jobs dead WHERE dead.state = 'dead'
"""

#: After this time a sealed body or event may be erased any moment.
EXPIRED = f"dead.received_at < clock_timestamp() - interval '{DEAD_LETTER_RETENTION_D} days'"

BODY_DETAIL = f"""
SELECT dead.source_id, dead.channel, dead.body_bytes, {EXPIRED} AS erased FROM core.inbox dead WHERE dead.id = %(key)s
"""

EVENT_DETAIL = """
SELECT dead.account_id, dead.kind AS event_kind, dead.event_key, dead.inbox_id AS body_id, dead.position,
  dead.event_wrapped_key IS NULL AS erased
FROM core.inbox_events dead WHERE dead.id = %(key)s
"""

JOB_DETAIL = """
SELECT dead.unique_key, dead.lane, dead.due_at, dead.payload FROM core.jobs dead WHERE dead.id = %(key)s
"""

LOOK_AT_BODY = f"""
SELECT dead.state, dead.state = 'dead' AND dead.error IS NULL AS was_split, {EXPIRED} AS erased
FROM core.inbox dead WHERE dead.id = %(key)s AND {OF_ROLE}
"""

LOOK_AT_EVENT = f"""
SELECT dead.state, false AS was_split, dead.event_wrapped_key IS NULL AS erased
FROM core.inbox_events dead WHERE dead.id = %(key)s AND {OF_ROLE}
"""

RETRY_BODY = """
UPDATE core.inbox SET state = 'new', attempts = 0, lease_until = NULL
WHERE id = %(key)s AND tenant_id IS NOT DISTINCT FROM %(tenant_id)s::text AND state = 'dead' AND error IS NOT NULL
"""

#: Nobody will open it any more, so its key goes at once; its blob is then an orphan, which the sweep finds.
DISCARD_BODY = """
UPDATE core.inbox SET state = 'discarded', lease_until = NULL, error = concat_ws('; ', error, %(note)s::text),
  body_sealed = NULL, body_wrapped_key = NULL, body_blob = NULL
WHERE id = %(key)s AND tenant_id IS NOT DISTINCT FROM %(tenant_id)s::text AND state = 'dead' AND error IS NOT NULL
"""

RETRY_EVENT = """
UPDATE core.inbox_events SET state = 'new', attempts = 0, lease_until = NULL
WHERE id = %(key)s AND tenant_id = %(tenant_id)s AND state = 'dead' AND event_wrapped_key IS NOT NULL
RETURNING inbox_id
"""

DISCARD_EVENT = """
UPDATE core.inbox_events SET state = 'discarded', lease_until = NULL, error = concat_ws('; ', error, %(note)s::text),
  event_sealed = NULL, event_wrapped_key = NULL
WHERE id = %(key)s AND tenant_id IS NOT DISTINCT FROM %(tenant_id)s::text AND state = 'dead'
RETURNING inbox_id
"""

#: The sweep closes it once more: as done when none of its events is dead any more, so that it is kept no longer.
REOPEN_BODY = "UPDATE core.inbox SET state = 'split' WHERE id = %(inbox_id)s AND state = 'dead' AND error IS NULL"

LOOK_AT_JOB = """
SELECT dead.state, (
  SELECT other.id FROM core.jobs other
  WHERE other.tenant_id = dead.tenant_id AND other.kind = dead.kind AND other.unique_key = dead.unique_key
    AND other.state = 'queued') AS queued_again
FROM core.jobs dead WHERE dead.id = %(key)s FOR UPDATE OF dead
"""

RETRY_JOB = """
UPDATE core.jobs SET state = 'queued', attempts = 0, lease_until = NULL, finished_at = NULL, due_at = clock_timestamp()
WHERE id = %(key)s
"""

DISCARD_JOB = """
UPDATE core.jobs SET state = 'discarded', lease_until = NULL, error = concat_ws('; ', error, %(note)s::text)
WHERE id = %(key)s
"""


async def look(connection: Connection, kind: InboxKind, key: int, *, to_retry: bool) -> None:
    """Return if this body or event is dead, is of the transaction's tenant, and may be acted upon.

    Raises:
        NotFound: there is none of this tenant.
        Conflict: it is in another state, or is to be retried and was erased.
    """
    statement = LOOK_AT_BODY if kind == "body" else LOOK_AT_EVENT
    row = await (await connection.execute(statement.encode(), {"key": key})).fetchone()
    if row is None:
        raise NotFound(f"there is no {kind} {key}")
    if row["was_split"]:
        raise Conflict(f"body:{key} was split: those of its events that are dead are dead letters of their own")
    if row["state"] != "dead":
        raise _not_dead(f"{kind}:{key}", row)
    if to_retry and row["erased"]:
        raise Conflict(
            f"{kind}:{key} cannot be retried: what it held was erased {DEAD_LETTER_RETENTION_D} days after it came;"
            " discard it"
        )


async def retry_body(database: Database, tenant_id: TenantId | None, key: int) -> None:
    """Have a body split once more. `look` comes first.

    Raises:
        Conflict: somebody else acted on it meanwhile.
    """
    async with queue_tx(database, commit="dead_letters.retry_body") as connection:
        changed = await connection.execute(RETRY_BODY, {"key": key, "tenant_id": tenant_id})
        if changed.rowcount != 1:
            raise _overtaken(f"body:{key}")


async def discard_body(database: Database, tenant_id: TenantId | None, key: int, *, note: str) -> None:
    """Let a body go and delete the key that opens it. `note` is added to its cause. `look` comes first.

    Raises:
        Conflict: somebody else acted on it meanwhile.
    """
    async with queue_tx(database, commit="dead_letters.discard_body") as connection:
        changed = await connection.execute(DISCARD_BODY, {"key": key, "tenant_id": tenant_id, "note": note})
        if changed.rowcount != 1:
            raise _overtaken(f"body:{key}")


async def retry_event(database: Database, tenant_id: TenantId, key: int) -> None:
    """Have a tenant's event written once more. `look` comes first; what has no tenant is for `inbox.unrouted`.

    Raises:
        Conflict: somebody else acted on it meanwhile.
    """
    async with queue_tx(database, commit="dead_letters.retry_event") as connection:
        await _change_event(connection, RETRY_EVENT, {"key": key, "tenant_id": tenant_id})


async def discard_event(database: Database, tenant_id: TenantId | None, key: int, *, note: str) -> None:
    """Let an event go and delete what it held. `note` is added to its cause. `look` comes first.

    Raises:
        Conflict: somebody else acted on it meanwhile.
    """
    async with queue_tx(database, commit="dead_letters.discard_event") as connection:
        await _change_event(connection, DISCARD_EVENT, {"key": key, "tenant_id": tenant_id, "note": note})


async def retry_job(connection: Connection, key: str) -> None:
    """Have a job run once more, now. Needs the tenant's transaction.

    Raises:
        NotFound: this tenant has no such job.
        Conflict: it is not dead, or one of the same key waits already.
    """
    row = await _job(connection, key)
    again = Conflict(f"job:{key} was asked for again meanwhile and that one waits already; discard this one")
    if row["queued_again"] is not None:
        raise again
    try:
        await connection.execute(RETRY_JOB, {"key": key})
    except psycopg.errors.UniqueViolation:
        raise again from None


async def discard_job(connection: Connection, key: str, *, note: str) -> None:
    """Let a job go. `note` is added to its cause. Needs the tenant's transaction.

    Raises:
        NotFound: this tenant has no such job.
        Conflict: it is not dead.
    """
    await _job(connection, key)
    await connection.execute(DISCARD_JOB, {"key": key, "note": note})


async def _change_event(connection: Connection, statement: str, keys: dict[str, Any]) -> None:  # Any: values of a row
    changed = await (await connection.execute(statement.encode(), keys)).fetchone()
    if changed is None:
        raise _overtaken(f"event:{keys['key']}")
    await connection.execute(REOPEN_BODY, changed)


async def _job(connection: Connection, key: str) -> DictRow:
    row = await (await connection.execute(LOOK_AT_JOB, {"key": key})).fetchone()
    if row is None:
        raise NotFound(f"there is no job {key!r}")
    if row["state"] != "dead":
        raise _not_dead(f"job:{key}", row)
    return row


def _not_dead(letter: str, row: DictRow) -> Conflict:
    return Conflict(f"{letter} is {row['state']!r}; only what is 'dead' can be acted upon here")


def _overtaken(letter: str) -> Conflict:
    return Conflict(f"{letter} is not dead any more: somebody else acted on it at this moment")
