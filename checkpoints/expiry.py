"""Checkpoints that are too old: all of a thread go once its last run ended longer ago than the retention says.

Runs and their steps stay, so timeline and audit lose nothing, and a run can still be replayed from its start. Threads
with a run that is not over, and threads of conversations under legal hold, are left alone.
"""

from datetime import timedelta
from typing import Any

from core.ids import JobId, TenantId, new_id
from core.log import logger
from core.telemetry import new_trace_id
from db.pools import Connection, Database
from db.transactions import queue_tx, tenant_tx

log = logger(__name__)

#: The kind of the job that deletes what is too old in one tenant; about once a day, at a time of its own.
EXPIRE_JOB = "checkpoints.expire"
EVERY = timedelta(days=1)
#: Threads that are looked at, and at most emptied, in one transaction.
THREADS_MAX = 200

#: One index probe per thread. The newest run says for nearly every thread that it is not yet time.
PAGE = """
WITH RECURSIVE thread (id) AS (
  (SELECT thread_id FROM checkpoints WHERE thread_id > %(after)s ORDER BY thread_id LIMIT 1)
  UNION ALL
  SELECT (SELECT c.thread_id FROM checkpoints c WHERE c.thread_id > thread.id ORDER BY c.thread_id LIMIT 1)
  FROM thread WHERE thread.id IS NOT NULL
), page AS MATERIALIZED (
  SELECT id FROM thread WHERE id IS NOT NULL LIMIT %(limit)s
)
SELECT page.id AS thread_id, coalesce(
  (SELECT r.state NOT IN ('queued', 'running', 'waiting')
     AND coalesce(r.finished_at, r.created_at) < clock_timestamp() - make_interval(days => %(days)s)
   FROM core.runs r WHERE r.thread_id = page.id ORDER BY r.created_at DESC LIMIT 1), false) AS is_quiet
FROM page
"""

#: Whoever holds the lease may start a run, so a thread is only emptied under it; the lease is locked before the
#: conversation, everywhere. What is held by a worker is left for the next day. The conversation's lock makes a legal
#: hold that comes meanwhile wait.
LOCK = """
WITH free AS (
  SELECT conversation_id FROM core.conversation_leases
  WHERE conversation_id IN (SELECT lease_id FROM core.runs WHERE thread_id = ANY(%(thread_ids)s))
    AND lease_until < clock_timestamp()
  ORDER BY conversation_id FOR UPDATE SKIP LOCKED
), lasting AS (
  SELECT r.thread_id, r.conversation_id FROM core.runs r
  WHERE r.thread_id = ANY(%(thread_ids)s) AND (
    r.lease_id IN (SELECT conversation_id FROM free)
    OR NOT EXISTS (SELECT FROM core.conversation_leases l WHERE l.conversation_id = r.lease_id))
), loose AS (
  SELECT id FROM conversations
  WHERE id IN (SELECT conversation_id FROM lasting) AND legal_hold_reason IS NULL
  ORDER BY id FOR SHARE
)
SELECT DISTINCT thread_id FROM lasting WHERE conversation_id IN (SELECT id FROM loose)
"""

#: Looks again at every run, now that none can begin; a fork that has not ended may yet copy from the thread.
DELETE = """
WITH expired AS MATERIALIZED (
  SELECT thread_id FROM core.runs runs WHERE thread_id = ANY(%(thread_ids)s)
  GROUP BY thread_id
  HAVING bool_and(state NOT IN ('queued', 'running', 'waiting')
    AND coalesce(finished_at, created_at) < clock_timestamp() - make_interval(days => %(days)s))
    AND NOT EXISTS (SELECT FROM core.runs fork
                    WHERE fork.state IN ('queued', 'running') AND fork.origin ->> 'thread_id' = runs.thread_id)
), deleted_writes AS (
  DELETE FROM checkpoint_writes WHERE thread_id IN (SELECT thread_id FROM expired)
), deleted_blobs AS (
  DELETE FROM checkpoint_blobs WHERE thread_id IN (SELECT thread_id FROM expired)
), deleted AS (
  DELETE FROM checkpoints WHERE thread_id IN (SELECT thread_id FROM expired)
), marked AS (
  UPDATE core.runs SET checkpoints_kept = false
  WHERE thread_id IN (SELECT thread_id FROM expired) AND checkpoints_kept
)
SELECT count(*) AS threads FROM expired
"""

UNSCHEDULED = """
SELECT t.id FROM core.tenants t WHERE NOT EXISTS (
  SELECT FROM core.jobs j WHERE j.tenant_id = t.id AND j.kind = %(kind)s AND j.unique_key = %(kind)s
    AND j.state = 'queued')
"""

#: A day from now, give or take a quarter, so that tenants do not all come at once.
SCHEDULE = """
INSERT INTO core.jobs (id, tenant_id, kind, unique_key, lane, due_at, trace_id)
SELECT id, tenant_id, %(kind)s, %(kind)s, 'background',
       clock_timestamp() + (0.75 + random() / 2) * %(every)s, trace_id
FROM unnest(%(ids)s::text[], %(tenant_ids)s::text[], %(trace_ids)s::text[]) AS missing (id, tenant_id, trace_id)
ON CONFLICT (tenant_id, kind, unique_key) WHERE state = 'queued' DO NOTHING
"""


async def schedule_daily(database: Database) -> int:
    """See to it that every tenant's checkpoints are looked through about once a day; gives how many jobs were made.

    Call it every hour or so: a tenant whose last look has ended, or who is new, gets the next one.
    """
    async with queue_tx(database, commit="checkpoints.schedule_daily") as connection:
        rows = await (await connection.execute(UNSCHEDULED, {"kind": EXPIRE_JOB})).fetchall()
        if not rows:
            return 0
        keys = {
            "kind": EXPIRE_JOB,
            "every": EVERY,
            "ids": [JobId(new_id("job")) for _ in rows],
            "tenant_ids": [row["id"] for row in rows],
            "trace_ids": [new_trace_id() for _ in rows],
        }
        return (await connection.execute(SCHEDULE, keys)).rowcount


async def expire_checkpoints(database: Database, tenant_id: TenantId, *, days: int) -> int:
    """Delete the checkpoints of threads whose last run ended more than `days` days ago; gives how many threads.

    0 days means never. Each page of threads is a transaction of its own; safe to stop and repeat.
    """
    threads, after = 0, ""
    while days:
        async with tenant_tx(database, tenant_id, commit="checkpoints.expire") as connection:
            page = await _page(connection, after, days)
            if not page:
                break
            quiet = [row["thread_id"] for row in page if row["is_quiet"]]
            threads += await _delete(connection, quiet, days) if quiet else 0
        after = page[-1]["thread_id"]
    if threads:
        log.info("checkpoints_expired", tenant_id=tenant_id, threads=threads)
    return threads


async def _page(connection: Connection, after: str, days: int) -> list[dict[str, Any]]:  # Any: rows
    keys = {"after": after, "days": days, "limit": THREADS_MAX}
    rows = await (await connection.execute(PAGE, keys)).fetchall()
    return sorted(rows, key=lambda row: row["thread_id"])


async def _delete(connection: Connection, thread_ids: list[str], days: int) -> int:
    free = await (await connection.execute(LOCK, {"thread_ids": thread_ids})).fetchall()
    keys = {"thread_ids": [row["thread_id"] for row in free], "days": days}
    row = await (await connection.execute(DELETE, keys, prepare=False)).fetchone()
    assert row is not None
    return int(row["threads"])
