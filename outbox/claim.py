"""Claiming effects: what is due, what a dead sender left behind, and what the provider never spoke of.

A claim is a lease that expires and a fence that only grows; times are the database's. Within a conversation a message
is claimed only when the earlier ones are no longer on their way; tenants take turns, so that one with a long queue
does not keep the others waiting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from psycopg.rows import DictRow

from core.ids import ConversationId, EffectId, TenantId
from db.pools import Connection, Database
from db.transactions import queue_tx

ClaimedState: TypeAlias = Literal["queued", "sending", "unknown"]

#: From the claim to the commit of `sending`: a few milliseconds of work.
CLAIM_LEASE_S = 5.0

FREE = "(e.lease_until IS NULL OR e.lease_until < now())"

MAY_GO = """
e.state = 'queued' AND e.due_at <= now()
AND NOT EXISTS (SELECT FROM core.accounts a WHERE a.id = e.account_id AND a.state = 'stopped')
AND (e.kind = 'read_and_typing' OR NOT EXISTS (
  SELECT FROM core.effects earlier
  WHERE earlier.conversation_id = e.conversation_id AND earlier.state IN ('queued', 'sending')
    AND earlier.kind <> 'read_and_typing' AND (earlier.created_at, earlier.id) < (e.created_at, e.id)))
"""

#: How long an unread webhook may hold up the end of `unknown`.
BACKLOG_S_MAX = 600

#: Not before every webhook that came in time is read: the status that settles it may be among them.
OVERDUE = f"""
e.state = 'unknown' AND e.due_at <= now()
AND (e.due_at <= now() - interval '{BACKLOG_S_MAX} seconds' OR (
  NOT EXISTS (SELECT FROM core.inbox i WHERE i.state = 'new' AND i.received_at < e.due_at)
  AND NOT EXISTS (SELECT FROM core.inbox_events v
                  WHERE v.state = 'new' AND v.tenant_id = e.tenant_id AND v.received_at < e.due_at)))
"""

#: The recursion steps from one tenant with work to the next, each a single probe of the index. More are looked at than
#: are taken, because other workers lock some of them at the same moment. The array keeps the planner, whose statistics
#: of a queue are always stale, from scanning the queue once per candidate.
DUE = f"""
WITH RECURSIVE tenant (id) AS (
  (SELECT tenant_id FROM core.effects WHERE state IN ('queued', 'sending', 'unknown') ORDER BY tenant_id LIMIT 1)
  UNION ALL
  SELECT (SELECT e.tenant_id FROM core.effects e
          WHERE e.state IN ('queued', 'sending', 'unknown') AND e.tenant_id > tenant.id ORDER BY e.tenant_id LIMIT 1)
  FROM tenant WHERE tenant.id IS NOT NULL
), candidate AS MATERIALIZED (
  SELECT array_agg(id ORDER BY place, due_at) AS ids FROM (
    SELECT oldest.id, oldest.place, oldest.due_at FROM tenant CROSS JOIN LATERAL (
      SELECT e.id, e.due_at, row_number() OVER (ORDER BY e.due_at, e.created_at) AS place FROM core.effects e
      WHERE e.tenant_id = tenant.id AND e.state IN ('queued', 'sending', 'unknown') AND e.lane = ANY(%(lanes)s)
        AND {FREE} AND (({MAY_GO}) OR e.state = 'sending' OR ({OVERDUE}))
      ORDER BY e.due_at, e.created_at LIMIT greatest(4, 4 * %(limit)s / (SELECT count(*) FROM tenant))) AS oldest
    ORDER BY oldest.place, oldest.due_at LIMIT 4 * %(limit)s) AS fairest
), chosen AS (
  SELECT e.id FROM core.effects e
  WHERE e.id = ANY((SELECT ids FROM candidate)::text[])
    AND e.state NOT IN ('sent', 'failed', 'parked', 'superseded') AND {FREE}
  ORDER BY array_position((SELECT ids FROM candidate), e.id) LIMIT %(limit)s FOR UPDATE OF e SKIP LOCKED
)
"""

DUE_OF_CONVERSATION = f"""
WITH chosen AS (
  SELECT e.id FROM core.effects e WHERE e.conversation_id = %(conversation_id)s AND {FREE} AND {MAY_GO}
  FOR UPDATE OF e SKIP LOCKED
)
"""

TAKE = """
UPDATE core.effects e
SET fence = e.fence + 1, lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM chosen WHERE e.id = chosen.id
RETURNING e.id, e.tenant_id, e.conversation_id, e.state, e.fence
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """An effect that this process may act on until its lease is over. `state` is the one it was found in."""

    effect_id: EffectId
    tenant_id: TenantId
    conversation_id: ConversationId
    state: ClaimedState
    fence: int


async def claim_due(database: Database, *, lanes: Sequence[str], limit: int) -> list[Claim]:
    """Claim up to `limit` effects of these lanes, over all tenants."""
    keys: dict[str, Any] = {"lanes": list(lanes), "limit": limit, "lease_s": CLAIM_LEASE_S}
    async with queue_tx(database, commit="outbox.claim") as connection:
        rows = await (await connection.execute(f"{DUE}{TAKE}".encode(), keys)).fetchall()
    return [_claim(row) for row in rows]


async def claim_of_conversation(connection: Connection, conversation_id: ConversationId) -> list[Claim]:
    """Claim what one conversation may send now, within the tenant's own transaction."""
    keys: dict[str, Any] = {"conversation_id": conversation_id, "lease_s": CLAIM_LEASE_S}
    rows = await (await connection.execute(f"{DUE_OF_CONVERSATION}{TAKE}".encode(), keys)).fetchall()
    return [_claim(row) for row in rows]


def _claim(row: DictRow) -> Claim:
    return Claim(
        EffectId(row["id"]), TenantId(row["tenant_id"]), ConversationId(row["conversation_id"]),
        row["state"], row["fence"],
    )  # fmt: skip
