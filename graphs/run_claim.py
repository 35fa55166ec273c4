"""Claiming runs: one at a time for each conversation, by a lease that expires and a fence that only grows.

All times are the database's. A run whose process died is claimed again by the same statement once its lease is over,
under a higher fence, so that the dead process, should it wake, can commit nothing. Tenants take turns, those with
fewer runs at work first, so that one with a long queue or slow runs does not keep the others waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import DictRow

from core.ids import ConversationId, RunId, TenantId
from core.settings import TurnSettings, load
from db.pools import Database
from db.transactions import queue_tx

#: What may be advanced by whoever asks now: nothing new before what has begun on the same lease, which would find its
#: thread taken and begin anew. What waits for an answer becomes free when its time is over.
FREE = """
r.state IN ('queued', 'running') AND r.due_at <= now() AND (r.lease_until IS NULL OR r.lease_until < now())
AND l.lease_until < now() AND (r.state = 'running' OR NOT EXISTS (
  SELECT FROM core.runs begun WHERE begun.lease_id = r.lease_id AND begun.state = 'running'))
"""

#: The recursion steps from one tenant with work to the next, each a single probe of the index. More are looked at than
#: are taken, because other workers lock some of them at the same moment. The array keeps the planner, whose statistics
#: of a queue are always stale, from scanning the queue once per candidate. `crowded`: a conversation had more than one
#: run among those that were looked at, so there may be others behind it that nobody has looked at.
CLAIM = f"""
WITH RECURSIVE overdue AS (
  UPDATE core.runs SET state = 'queued' WHERE state = 'waiting' AND due_at <= now()
), tenant (id) AS (
  (SELECT tenant_id FROM core.runs WHERE state IN ('queued', 'running') ORDER BY tenant_id LIMIT 1)
  UNION ALL
  SELECT (SELECT r.tenant_id FROM core.runs r
          WHERE r.state IN ('queued', 'running') AND r.tenant_id > tenant.id ORDER BY r.tenant_id LIMIT 1)
  FROM tenant WHERE tenant.id IS NOT NULL
), candidate AS MATERIALIZED (
  SELECT array_agg(id ORDER BY place, due_at) AS ids FROM (
    SELECT oldest.id, oldest.due_at, oldest.place + at_work.runs AS place FROM tenant
    CROSS JOIN LATERAL (
      SELECT count(*) AS runs FROM core.runs w
      WHERE w.tenant_id = tenant.id AND w.state = 'running' AND w.lease_until > now()) AS at_work
    CROSS JOIN LATERAL (
      SELECT r.id, r.due_at, row_number() OVER (ORDER BY r.due_at) AS place
      FROM core.runs r JOIN core.conversation_leases l ON l.conversation_id = r.lease_id
      WHERE r.tenant_id = tenant.id AND {FREE}
      ORDER BY r.due_at LIMIT greatest(4, 4 * %(limit)s / (SELECT count(*) FROM tenant))) AS oldest
    ORDER BY place, oldest.due_at LIMIT 4 * %(limit)s) AS fairest
), due AS (
  SELECT r.id, r.lease_id, r.state, r.created_at
  FROM core.runs r JOIN core.conversation_leases l ON l.conversation_id = r.lease_id
  WHERE r.id = ANY((SELECT ids FROM candidate)::text[]) AND {FREE}
  ORDER BY array_position((SELECT ids FROM candidate), r.id) LIMIT %(limit)s FOR UPDATE OF r, l SKIP LOCKED
), one_each AS (
  SELECT DISTINCT ON (lease_id) id, lease_id FROM due ORDER BY lease_id, state = 'running' DESC, created_at
), leased AS (
  UPDATE core.conversation_leases l
  SET fence = l.fence + 1, run_id = one.id, lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
  FROM one_each one WHERE l.conversation_id = one.lease_id
  RETURNING l.run_id, l.fence, l.lease_until
)
UPDATE core.runs r
SET state = 'running', fence = leased.fence, lease_until = leased.lease_until, attempts = r.attempts + 1,
    worker = %(worker)s, started_at = coalesce(r.started_at, clock_timestamp())
FROM leased WHERE r.id = leased.run_id
RETURNING r.id, r.tenant_id, r.conversation_id, r.lease_id, r.kind, r.graph, r.thread_id, r.dry_run, r.fence,
          r.attempts, r.trace_id, (SELECT count(*) FROM due) > (SELECT count(*) FROM one_each) AS crowded
"""

EXTEND = """
WITH mine AS (SELECT * FROM unnest(%(leases)s::text[], %(fences)s::bigint[]) AS m (lease_id, fence)),
held AS (
  UPDATE core.conversation_leases l SET lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
  FROM mine WHERE l.conversation_id = mine.lease_id AND l.fence = mine.fence
  RETURNING l.run_id, l.fence, l.lease_until)
UPDATE core.runs r SET lease_until = held.lease_until FROM held WHERE r.id = held.run_id AND r.fence = held.fence
RETURNING r.id, r.cancel_requested_at IS NOT NULL AS cancelled
"""

RELEASE = """
WITH let_go AS (
  UPDATE core.conversation_leases SET lease_until = '-infinity'
  WHERE conversation_id = %(lease_id)s AND fence = %(fence)s RETURNING 1)
UPDATE core.runs SET lease_until = clock_timestamp() + make_interval(secs => %(wait_s)s), error = %(error)s,
       attempts = attempts - %(attempts_given_back)s
WHERE id = %(run_id)s AND fence = %(fence)s AND state = 'running'
"""


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that this process may advance for as long as its lease holds."""

    run_id: RunId
    tenant_id: TenantId
    conversation_id: ConversationId
    #: `turn`, or what waits for something, or `fork`, or `replay`.
    kind: str
    graph: str
    thread_id: str
    dry_run: bool
    #: What the lease is on: the conversation, or for a dry run the run itself.
    lease_id: str
    fence: int
    #: How often it was claimed, this time included.
    attempts: int
    trace_id: str


@dataclass(frozen=True, slots=True)
class KeptRuns:
    """Which runs are still ours, and which of those somebody wants to end."""

    held: set[RunId]
    cancelled: set[RunId]


async def claim_runs(database: Database, *, worker: str, limit: int) -> list[ClaimedRun]:
    """Claim up to `limit` due runs, one of each conversation; `worker` names this process for operators."""
    keys: dict[str, Any] = {"lease_s": load(TurnSettings).lease_s, "worker": worker}
    rows: list[DictRow] = []
    async with queue_tx(database, commit="runs.claim") as connection:
        while len(rows) < limit:
            claim = await connection.execute(CLAIM.encode(), keys | {"limit": limit - len(rows)})
            claimed = await claim.fetchall()
            rows += claimed
            if not claimed or not claimed[0]["crowded"]:
                break
    return [_claimed(row) for row in rows]


async def extend_runs(database: Database, runs: Sequence[ClaimedRun]) -> KeptRuns:
    """Renew the leases of these runs. Call it at a third of the lease."""
    keys: dict[str, Any] = {
        "leases": [run.lease_id for run in runs],
        "fences": [run.fence for run in runs],
        "lease_s": load(TurnSettings).lease_s,
    }
    async with queue_tx(database, commit="runs.extend") as connection:
        rows = await (await connection.execute(EXTEND, keys)).fetchall()
    return KeptRuns(
        held={RunId(row["id"]) for row in rows}, cancelled={RunId(row["id"]) for row in rows if row["cancelled"]}
    )


async def release_run(
    database: Database, run: ClaimedRun, *, wait_s: float = 0, error: str | None = None, counts: bool = True
) -> None:
    """Let another process take the run up where it stopped, after `wait_s`. `counts`: whether an attempt was used."""
    async with queue_tx(database, commit="runs.release") as connection:
        await connection.execute(
            RELEASE,
            {
                "lease_id": run.lease_id,
                "run_id": run.run_id,
                "fence": run.fence,
                "wait_s": wait_s,
                "error": error,
                "attempts_given_back": 0 if counts else 1,
            },
        )


def _claimed(row: DictRow) -> ClaimedRun:
    return ClaimedRun(
        run_id=RunId(row["id"]),
        tenant_id=TenantId(row["tenant_id"]),
        conversation_id=ConversationId(row["conversation_id"]),
        kind=row["kind"],
        graph=row["graph"],
        thread_id=row["thread_id"],
        dry_run=row["dry_run"],
        lease_id=row["lease_id"],
        fence=row["fence"],
        attempts=row["attempts"],
        trace_id=row["trace_id"],
    )
