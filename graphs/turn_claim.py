"""Claiming turns: one active run per conversation, by a lease that expires and a fence that only grows.

All times are the database's. A run whose process died is claimed again by the same statement once its lease is over,
under a higher fence, so that the dead process, should it wake, can commit nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.ids import ConversationId, RunId, TenantId
from core.settings import TurnSettings, load
from db.pools import Database
from db.transactions import queue_tx

CLAIM = """
WITH due AS (
  SELECT r.id, r.conversation_id, r.state, r.created_at
  FROM core.runs r JOIN core.conversation_leases l ON l.conversation_id = r.conversation_id
  WHERE r.state IN ('queued', 'running') AND r.due_at <= clock_timestamp()
    AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp()) AND l.lease_until < clock_timestamp()
  ORDER BY r.due_at LIMIT %(limit)s FOR UPDATE OF r, l SKIP LOCKED
), one_each AS (
  SELECT DISTINCT ON (conversation_id) id, conversation_id FROM due
  ORDER BY conversation_id, state = 'running' DESC, created_at
), leased AS (
  UPDATE core.conversation_leases l
  SET fence = l.fence + 1, run_id = one.id, lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
  FROM one_each one WHERE l.conversation_id = one.conversation_id
  RETURNING l.conversation_id, l.run_id, l.fence, l.lease_until
)
UPDATE core.runs r
SET state = 'running', fence = leased.fence, lease_until = leased.lease_until, attempts = r.attempts + 1,
    worker = %(worker)s, started_at = coalesce(r.started_at, clock_timestamp())
FROM leased WHERE r.id = leased.run_id
RETURNING r.id, r.tenant_id, r.conversation_id, r.fence, r.attempts, r.trace_id
"""

EXTEND = """
WITH mine AS (SELECT * FROM unnest(%(conversations)s::text[], %(fences)s::bigint[]) AS m (conversation_id, fence)),
held AS (
  UPDATE core.conversation_leases l SET lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
  FROM mine WHERE l.conversation_id = mine.conversation_id AND l.fence = mine.fence
  RETURNING l.conversation_id, l.run_id, l.fence, l.lease_until)
UPDATE core.runs r SET lease_until = held.lease_until FROM held WHERE r.id = held.run_id AND r.fence = held.fence
RETURNING r.id
"""

RELEASE = """
WITH let_go AS (
  UPDATE core.conversation_leases SET lease_until = '-infinity'
  WHERE conversation_id = %(conversation_id)s AND fence = %(fence)s RETURNING 1)
UPDATE core.runs SET lease_until = clock_timestamp() + make_interval(secs => %(wait_s)s), error = %(error)s,
       attempts = attempts - %(attempts_given_back)s
WHERE id = %(run_id)s AND fence = %(fence)s AND state = 'running'
"""


@dataclass(frozen=True, slots=True)
class ClaimedTurn:
    """A run that this process may advance for as long as its lease holds."""

    run_id: RunId
    tenant_id: TenantId
    conversation_id: ConversationId
    fence: int
    #: How often it was claimed, this time included.
    attempts: int
    trace_id: str


async def claim_turns(database: Database, *, worker: str, limit: int) -> list[ClaimedTurn]:
    """Claim up to `limit` due runs of different conversations; `worker` names this process for operators."""
    async with queue_tx(database, commit="turns.claim") as connection:
        cursor = await connection.execute(
            CLAIM, {"limit": limit, "lease_s": load(TurnSettings).lease_s, "worker": worker}
        )
        rows = await cursor.fetchall()
    return [
        ClaimedTurn(
            RunId(row["id"]), TenantId(row["tenant_id"]), ConversationId(row["conversation_id"]),
            row["fence"], row["attempts"], row["trace_id"],
        )
        for row in rows
    ]  # fmt: skip


async def extend_turns(database: Database, turns: Sequence[ClaimedTurn]) -> set[RunId]:
    """Renew the leases of these turns; gives those that are still ours. Call it at a third of the lease."""
    async with queue_tx(database, commit="turns.extend") as connection:
        cursor = await connection.execute(
            EXTEND,
            {
                "conversations": [turn.conversation_id for turn in turns],
                "fences": [turn.fence for turn in turns],
                "lease_s": load(TurnSettings).lease_s,
            },
        )
        return {RunId(row["id"]) for row in await cursor.fetchall()}


async def release_turn(
    database: Database, turn: ClaimedTurn, *, wait_s: float = 0, error: str | None = None, counts: bool = True
) -> None:
    """Let another process take the turn up where it stopped, after `wait_s`. `counts`: whether an attempt was used."""
    async with queue_tx(database, commit="turns.release") as connection:
        await connection.execute(
            RELEASE,
            {
                "conversation_id": turn.conversation_id,
                "run_id": turn.run_id,
                "fence": turn.fence,
                "wait_s": wait_s,
                "error": error,
                "attempts_given_back": 0 if counts else 1,
            },
        )
