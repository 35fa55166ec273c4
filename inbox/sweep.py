"""What nobody waits for: finished bodies are closed, kept texts masked, keys deleted, dead letters made and let go.

Runs every few seconds in one worker at a time; every statement may run twice.
"""

from collections.abc import Mapping
from typing import Any

from core.crypto import Sealer
from core.errors import ChowkError
from core.log import logger
from core.settings import RetentionSettings, load
from db.pools import Connection, Database
from db.transactions import queue_tx
from inbox.blobs import delete_body, open_body
from inbox.claim import ATTEMPTS_MAX
from inbox.mask import mask

log = logger(__name__)

#: Any number that no other sweep takes.
SWEEP_LOCK = 0x73776565
#: How many bodies are closed in one round: more than arrive in the seconds between two.
CLOSED_AT_ONCE_MAX = 5_000
#: How many are erased: each is opened, masked and written.
BODIES_MAX = 200
DEAD_LETTER_RETENTION_D = 30

KILLED = """
UPDATE core.{table} SET state = 'dead', error = 'its worker died ' || attempts || ' times while working on it'
WHERE state = 'new' AND attempts >= %s AND lease_until < clock_timestamp()
"""

#: Tenants take turns, so a body may be finished long before older ones are.
CLOSE = """
UPDATE core.inbox i SET state = CASE WHEN EXISTS (
    SELECT FROM core.inbox_events e WHERE e.inbox_id = i.id AND e.state = 'dead') THEN 'dead' ELSE 'done' END
WHERE i.id IN (
  SELECT b.id FROM core.inbox b
  WHERE b.state = 'split' AND NOT EXISTS (
    SELECT FROM core.inbox_events e WHERE e.inbox_id = b.id AND e.state = 'new')
  ORDER BY b.id LIMIT %s)
"""

ERASABLE = """
SELECT i.id, i.source_id, i.body_sealed, i.body_wrapped_key, i.body_blob,
  (SELECT count(DISTINCT e.tenant_id) FROM core.inbox_events e WHERE e.inbox_id = i.id) > 1 AS mixes_tenants
FROM core.inbox i
WHERE i.body_wrapped_key IS NOT NULL
  AND ((i.state = 'done' AND (i.sensitive OR i.received_at < clock_timestamp() - make_interval(hours => %(hours)s)))
    OR (i.state = 'dead' AND i.received_at < clock_timestamp() - make_interval(days => %(dead_days)s)))
ORDER BY i.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

ERASE = """
UPDATE core.inbox SET body_masked = %(masked)s, body_sealed = NULL, body_wrapped_key = NULL, body_blob = NULL
WHERE id = %(id)s
"""

ERASE_DEAD_EVENTS = """
UPDATE core.inbox_events SET event_sealed = NULL, event_wrapped_key = NULL
WHERE state = 'dead' AND event_wrapped_key IS NOT NULL
  AND received_at < clock_timestamp() - make_interval(days => %s)
"""


async def sweep(database: Database, sealer: Sealer) -> None:
    """Do one round; at once back if another worker is at it."""
    async with queue_tx(database, commit="sweep.close") as connection:
        if not await _alone(connection):
            return
        await connection.execute(KILLED.format(table="inbox").encode(), (ATTEMPTS_MAX,))
        await connection.execute(KILLED.format(table="inbox_events").encode(), (ATTEMPTS_MAX,))
        await connection.execute(CLOSE, (CLOSED_AT_ONCE_MAX,))
        await connection.execute(ERASE_DEAD_EVENTS, (DEAD_LETTER_RETENTION_D,))
    blobs: list[str] = []
    async with queue_tx(database, commit="sweep.erase") as connection:
        if await _alone(connection):
            blobs = await _erase(connection, sealer)
    for name in blobs:  # only now is it certain that nobody needs them; what is missed here, the orphans' sweep finds
        await delete_body(name)


async def _alone(connection: Connection) -> bool:
    row = await (await connection.execute("SELECT pg_try_advisory_xact_lock(%s) AS mine", (SWEEP_LOCK,))).fetchone()
    assert row is not None
    return bool(row["mine"])


async def _erase(connection: Connection, sealer: Sealer) -> list[str]:
    """Replace bodies that are no longer needed by their masked text, and forget the key that opened them.

    Gives the blobs that may be deleted once this is committed.
    """
    limits = {
        "hours": load(RetentionSettings).raw_body_retention_h,
        "dead_days": DEAD_LETTER_RETENTION_D,
        "limit": BODIES_MAX,
    }
    rows = await (await connection.execute(ERASABLE, limits)).fetchall()
    for row in rows:
        await connection.execute(ERASE, {"id": row["id"], "masked": await _masked(sealer, row)})
    return [row["body_blob"] for row in rows if row["body_blob"]]


async def _masked(sealer: Sealer, row: Mapping[str, Any]) -> str | None:  # Any: a database row
    """The body's masked text; nothing where it mixes tenants (its hash stays) or can no longer be opened."""
    if row["mixes_tenants"]:
        return None
    try:
        body = await open_body(sealer, row)
    except ChowkError as error:
        log.warning("body_not_opened", inbox_id=row["id"], error=error.message)
        return None
    return mask(body.decode("utf-8", "replace").replace("\x00", "\ufffd")).text
