"""Claiming bodies and events: tenants take turns, and within a tenant its accounts.

A claim is a lease that expires and a fence that only grows; times are the database's. What one account sent is claimed
in the order in which it came. The body of an app, of which nobody knows yet whose events it holds, counts as the app's.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from db.pools import Connection, Database
from db.transactions import queue_tx

LEASE_S: Final = 5
#: A row that was claimed this often and never finished kills its worker; `inbox.sweep` makes it a dead letter.
ATTEMPTS_MAX: Final = 5
#: How many times as many rows are looked at as are taken, because other workers lock some at the same moment.
LOOKED_AT_FACTOR: Final = 4

Row: TypeAlias = Mapping[str, Any]  # Any: a database row

#: The recursion steps from one source with work to the next, each a single probe of the index, so that a long queue
#: costs what a short one does. `share` bounds how many rows are looked at: of an owner, and of a source, where one may
#: use what the others of its owner leave. `place` is a row's among those of its source, `turn` among those of its
#: owner. The array keeps the planner, whose statistics of a queue are always stale, from scanning the queue once per
#: candidate; NOT IN makes it find them by their ids. `cut`: some source may have more.
CLAIM: Final = """
WITH RECURSIVE source (owner, id) AS (
  (SELECT {owner}, {source} FROM core.{table} WHERE state = 'new' AND {owner} IS NOT NULL
   ORDER BY {owner}, {source} LIMIT 1)
  UNION ALL
  SELECT next.owner, next.id FROM source CROSS JOIN LATERAL (
    SELECT {owner} AS owner, {source} AS id FROM core.{table}
    WHERE state = 'new' AND ({owner}, {source}) > (source.owner, source.id)
    ORDER BY {owner}, {source} LIMIT 1) AS next
), share AS MATERIALIZED (
  SELECT owner, id, of_owner, least(of_owner, greatest(ceil(of_owner / sources), of_source)) AS rows FROM (
    SELECT source.*, count(*) OVER (PARTITION BY owner) AS sources FROM source) AS each, (
    SELECT ceil({factor}.0 * %(limit)s / nullif(count(DISTINCT owner), 0)) AS of_owner,
           ceil(2.0 * {factor} * %(limit)s / nullif(count(*), 0)) AS of_source FROM source) AS every
), waiting AS MATERIALIZED (
  SELECT share.owner, share.of_owner, share.rows, oldest.id, oldest.place FROM share CROSS JOIN LATERAL (
    SELECT q.id, row_number() OVER (ORDER BY q.id) AS place FROM core.{table} q
    WHERE q.state = 'new' AND {owner} = share.owner AND {source} = share.id AND q.attempts < {attempts_max}
      AND (q.lease_until IS NULL OR q.lease_until < now())
    ORDER BY q.id LIMIT share.rows) AS oldest
), candidate AS MATERIALIZED (
  SELECT array_agg(id ORDER BY turn, id) AS ids FROM (
    SELECT id, turn FROM (
      SELECT id, of_owner, row_number() OVER (PARTITION BY owner ORDER BY place, id) AS turn FROM waiting) AS ranked
    WHERE turn <= of_owner ORDER BY turn, id LIMIT {factor} * %(limit)s) AS fairest
), chosen AS (
  SELECT id FROM core.{table}
  WHERE id = ANY((SELECT ids FROM candidate)::bigint[]) AND state NOT IN ({over}) AND attempts < {attempts_max}
    AND (lease_until IS NULL OR lease_until < now())
  ORDER BY array_position((SELECT ids FROM candidate), id) LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE core.{table} q SET fence = q.fence + 1, attempts = q.attempts + 1,
       lease_until = clock_timestamp() + make_interval(secs => {lease_s})
FROM chosen WHERE q.id = chosen.id
RETURNING {columns}, (SELECT bool_or(place = rows) FROM waiting) AS cut
"""

BODIES: Final = CLAIM.format(
    table="inbox", owner="coalesce(tenant_id, source_id)", source="source_id",
    over="'split', 'done', 'dead', 'discarded'", factor=LOOKED_AT_FACTOR, attempts_max=ATTEMPTS_MAX, lease_s=LEASE_S,
    columns="q.id, source_id, tenant_id, channel, body_sealed, body_wrapped_key, body_blob, attempts, q.fence, "
            "trace_id, received_at",
).encode()  # fmt: skip

#: An event of no known tenant is dead from the start and never among these.
EVENTS: Final = CLAIM.format(
    table="inbox_events", owner="tenant_id", source="account_id",
    over="'done', 'dead', 'discarded'", factor=LOOKED_AT_FACTOR, attempts_max=ATTEMPTS_MAX, lease_s=LEASE_S,
    columns="q.id, tenant_id, account_id, event_sealed, event_wrapped_key, attempts, q.fence, trace_id, received_at",
).encode()  # fmt: skip


async def claim_bodies(database: Database, *, limit: int) -> list[Row]:
    """Claim up to `limit` bodies that nobody has split yet, in the order in which they came."""
    async with queue_tx(database, commit="inbox.claim") as connection:
        return await _take(connection, BODIES, limit)


async def claim_events(database: Database, *, limit: int) -> list[Row]:
    """Claim up to `limit` events that are not written yet, in the order in which they came."""
    async with queue_tx(database, commit="events.claim") as connection:
        return await _take(connection, EVENTS, limit)


async def _take(connection: Connection, statement: bytes, limit: int) -> list[Row]:
    """Take until the limit is reached or nothing is left: a caller who gets less than the limit goes to sleep."""
    rows: list[Row] = []
    while len(rows) < limit:
        taken = await (await connection.execute(statement, {"limit": limit - len(rows)})).fetchall()
        rows.extend(taken)
        if not taken or not taken[0]["cut"]:
            break
    return sorted(rows, key=lambda row: row["id"])
