"""Jobs: what is due later or by itself, claimed like the inbox and run by the handler of its kind.

A job may run twice (its process may die after its work and before its end), so a handler is safe to repeat: it checks
what is left to do, or ends its job in its own transaction with `finish`. Times are the database's.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from psycopg.rows import DictRow

from core.errors import ChowkError, FenceLost, NotFound, ProviderRefused
from core.ids import JobId, TenantId
from core.log import logger
from core.telemetry import trace_id
from db.pools import Connection, Database
from db.transactions import queue_tx

log = logger(__name__)

LEASE_S = 15.0
#: A job that was claimed this often without ending is a dead letter.
ATTEMPTS_MAX = 8
#: Seconds before the second, third… attempt: 2, 4, 8, …
RETRY_FACTOR = 2.0
RETRY_DELAY_S_MAX = 600.0
ERROR_CHARACTERS_MAX = 2_000
DONE_RETENTION_D = 7
FORGET_JOBS_MAX = 10_000
#: Tenants take turns among this many of the oldest due jobs.
WINDOW_JOBS = 1_000

#: `FOR UPDATE` looks again at rows that another worker has just claimed, so the conditions stand twice.
CLAIM = """
WITH oldest AS (
  SELECT id, tenant_id, due_at FROM core.jobs
  WHERE state = 'queued' AND due_at <= now() AND lane = ANY(%(lanes)s) AND (lease_until IS NULL OR lease_until < now())
  ORDER BY due_at LIMIT %(window)s
), candidate AS MATERIALIZED (
  SELECT array_agg(id ORDER BY place, due_at) AS ids FROM (
    SELECT id, due_at, row_number() OVER (PARTITION BY tenant_id ORDER BY due_at, id) AS place FROM oldest
    ORDER BY place, due_at LIMIT 4 * %(limit)s) AS fairest
), chosen AS (
  SELECT id FROM core.jobs
  WHERE id = ANY((SELECT ids FROM candidate)::text[]) AND state = 'queued' AND due_at <= now()
    AND (lease_until IS NULL OR lease_until < now())
  ORDER BY array_position((SELECT ids FROM candidate), id) LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE core.jobs j SET fence = j.fence + 1, attempts = j.attempts + 1,
       lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM chosen WHERE j.id = chosen.id
RETURNING j.id, j.tenant_id, j.kind, j.unique_key, j.payload, j.due_at, j.fence, j.attempts, j.trace_id
"""

EXTEND = """
UPDATE core.jobs j SET lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM unnest(%(ids)s::text[], %(fences)s::bigint[]) AS mine (id, fence)
WHERE j.id = mine.id AND j.fence = mine.fence AND j.state = 'queued'
RETURNING j.id
"""

#: A job whose time was changed while it ran was asked for again: it stays queued for that time.
FINISH = """
UPDATE core.jobs SET
  state = CASE WHEN due_at = %(due_at)s THEN 'done' ELSE 'queued' END,
  finished_at = CASE WHEN due_at = %(due_at)s THEN clock_timestamp() END,
  attempts = CASE WHEN due_at = %(due_at)s THEN attempts ELSE 0 END, lease_until = NULL, error = NULL
WHERE id = %(id)s AND fence = %(fence)s AND state = 'queued'
RETURNING id
"""

#: A new time that was asked for while it ran stays.
RETRY = """
UPDATE core.jobs SET lease_until = NULL, error = %(error)s, attempts = attempts - %(attempts_given_back)s,
  due_at = CASE WHEN due_at = %(due_at)s THEN clock_timestamp() + make_interval(secs => %(wait_s)s) ELSE due_at END
WHERE id = %(id)s AND fence = %(fence)s AND state = 'queued'
"""

BURY = """
UPDATE core.jobs SET state = 'dead', lease_until = NULL, error = %(error)s, finished_at = clock_timestamp()
WHERE id = %(id)s AND fence = %(fence)s AND state = 'queued'
"""


FORGET = """
DELETE FROM core.jobs WHERE id IN (
  SELECT id FROM core.jobs WHERE state = 'done' AND finished_at < clock_timestamp() - make_interval(days => %(days)s)
  LIMIT %(limit)s)
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that this process may run for as long as its lease holds. `payload` holds references only."""

    id: JobId
    tenant_id: TenantId
    kind: str
    unique_key: str
    payload: Mapping[str, Any]  # Any: JSON, as the kind's own handler wrote it
    due_at: datetime
    fence: int
    #: How often it was claimed, this time included.
    attempts: int
    trace_id: str


#: Runs one job of its kind. An error that is not `retryable` makes the job a dead letter at once.
JobHandler: TypeAlias = Callable[[Job], Awaitable[None]]


async def claim_jobs(database: Database, *, lanes: Sequence[str], limit: int) -> list[Job]:
    """Claim up to `limit` due jobs of these lanes; tenants take turns."""
    keys = {"lanes": list(lanes), "limit": limit, "window": WINDOW_JOBS, "lease_s": LEASE_S}
    async with queue_tx(database, commit="jobs.claim") as connection:
        rows = await (await connection.execute(CLAIM, keys)).fetchall()
    return [_job(row) for row in rows]


async def extend_jobs(database: Database, jobs: Sequence[Job]) -> set[JobId]:
    """Renew the leases of these jobs; gives those that are still ours. Call it at a third of the lease."""
    keys: dict[str, Any] = {
        "ids": [job.id for job in jobs],
        "fences": [job.fence for job in jobs],
        "lease_s": LEASE_S,
    }
    async with queue_tx(database, commit="jobs.extend") as connection:
        return {JobId(row["id"]) for row in await (await connection.execute(EXTEND, keys)).fetchall()}


async def release_job(database: Database, job: Job) -> None:
    """Let another process run the job at once; no attempt was used."""
    async with queue_tx(database, commit="jobs.release") as connection:
        keys = _keys(job) | {"error": "its worker stopped", "wait_s": 0, "attempts_given_back": 1}
        await connection.execute(RETRY, keys)


async def run_job(database: Database, handlers: Mapping[str, JobHandler], job: Job) -> None:
    """Run one claimed job to its end, a later attempt, or the dead letters. Never raises for what a handler does."""
    trace_id.set(job.trace_id)
    try:
        if job.attempts > ATTEMPTS_MAX:
            await _bury(database, job, f"its worker died {ATTEMPTS_MAX} times while running it")
            return
        await _handler(handlers, job.kind)(job)
        async with queue_tx(database, commit="jobs.finish") as connection:
            await connection.execute(FINISH, _keys(job))
    except FenceLost as error:
        log.warning("job_lost", job_id=job.id, kind=job.kind, error=error.message)
    except Exception as error:  # the edge of a job: whatever it was, the job must not be lost
        log.exception("job_failed", job_id=job.id, kind=job.kind, attempts=job.attempts)
        await _fail(database, job, error)


async def forget_jobs(database: Database) -> int:
    """Delete jobs that were done `DONE_RETENTION_D` ago, some at a time; gives how many."""
    async with queue_tx(database, commit="jobs.forget") as connection:
        keys = {"days": DONE_RETENTION_D, "limit": FORGET_JOBS_MAX}
        return (await connection.execute(FORGET, keys)).rowcount


async def finish(connection: Connection, job: Job) -> None:
    """End the job in the handler's own transaction, together with what it did.

    Raises:
        FenceLost: another process runs this job by now; nothing of this transaction may be committed.
    """
    if await (await connection.execute(FINISH, _keys(job))).fetchone() is None:
        raise FenceLost(f"job {job.id} is no longer held under fence {job.fence}")


def _handler(handlers: Mapping[str, JobHandler], kind: str) -> JobHandler:
    try:
        return handlers[kind]
    except KeyError:
        known = ", ".join(sorted(handlers)) or "none"
        raise NotFound(f"no handler runs jobs of kind {kind!r}; known are {known}") from None


async def _fail(database: Database, job: Job, error: Exception) -> None:
    message = error.message if isinstance(error, ChowkError) else f"{type(error).__name__}: {error}"
    try:
        if _is_hopeless(error) or job.attempts >= ATTEMPTS_MAX:
            await _bury(database, job, message)
            return
        wait_s = min(RETRY_FACTOR**job.attempts, RETRY_DELAY_S_MAX) * random.uniform(1, 1.25)  # noqa: S311  # no secret
        keys = {"error": message[:ERROR_CHARACTERS_MAX], "wait_s": wait_s, "attempts_given_back": 0}
        async with queue_tx(database, commit="jobs.retry") as connection:
            await connection.execute(RETRY, _keys(job) | keys)
    except ChowkError as second:
        # Its lease ends by itself, and then it is claimed again.
        log.warning("job_not_released", job_id=job.id, error=second.message)


def _is_hopeless(error: Exception) -> bool:
    if isinstance(error, ProviderRefused):
        return error.remedy != "retry"
    return isinstance(error, ChowkError) and not error.retryable


async def _bury(database: Database, job: Job, error: str) -> None:
    async with queue_tx(database, commit="jobs.bury") as connection:
        await connection.execute(BURY, _keys(job) | {"error": error[:ERROR_CHARACTERS_MAX]})
    log.error("job_dead", job_id=job.id, kind=job.kind, error=error)


def _keys(job: Job) -> dict[str, Any]:
    return {"id": job.id, "fence": job.fence, "due_at": job.due_at}


def _job(row: DictRow) -> Job:
    return Job(
        id=JobId(row["id"]),
        tenant_id=TenantId(row["tenant_id"]),
        kind=row["kind"],
        unique_key=row["unique_key"],
        payload=row["payload"],
        due_at=row["due_at"],
        fence=row["fence"],
        attempts=row["attempts"],
        trace_id=row["trace_id"],
    )
