"""Settling what is unclear: a timeout is not a failure, and neither is the death of a sender.

A message that may have left becomes `unknown` and is left alone while the provider can still speak of it: its status
carries our correlation and settles the effect in the inbox. When the time is over the class of the message decides:
`at_least_once` is sent once more under the same key, `at_most_once` is parked for an operator.
"""

from collections.abc import Sequence
from typing import Any

from core.log import logger
from core.telemetry import EFFECTS
from db.pools import Connection
from outbox.claim import Claim
from outbox.policy import RESENDS_MAX, UNKNOWN_WINDOW_S

log = logger(__name__)

#: Messages before effects, in the order in which the inbox locks them when a status comes.
MESSAGES_LOST = """
UPDATE messages SET status = 'unknown' WHERE status = 'sending' AND id IN (
  SELECT e.message_id FROM core.effects e JOIN unnest(%(ids)s::text[], %(fences)s::bigint[]) AS mine (id, fence)
    ON mine.id = e.id AND mine.fence = e.fence WHERE e.state = 'sending')
"""

#: The window begins now, not when it was sent: while we were down the provider could not tell us.
EFFECTS_LOST = """
UPDATE core.effects e SET
  state = CASE WHEN e.kind = 'read_and_typing' THEN 'failed' ELSE 'unknown' END, lease_until = NULL,
  due_at = clock_timestamp() + make_interval(secs => %(window_s)s), error = 'its sender died before the answer came'
FROM unnest(%(ids)s::text[], %(fences)s::bigint[]) AS mine (id, fence)
WHERE e.id = mine.id AND e.fence = mine.fence AND e.state = 'sending'
RETURNING e.id, e.kind, e.state
"""

EFFECTS_OVERDUE = """
UPDATE core.effects e SET
  state = CASE WHEN again THEN 'queued' ELSE 'parked' END, resends = e.resends + again::int, lease_until = NULL,
  due_at = clock_timestamp(), error = 'the provider never said what became of it'
FROM (
  SELECT u.id, u.delivery = 'at_least_once' AND u.resends < %(resends_max)s AS again
  FROM core.effects u JOIN unnest(%(ids)s::text[], %(fences)s::bigint[]) AS mine (id, fence)
    ON mine.id = u.id AND mine.fence = u.fence
  WHERE u.state = 'unknown' FOR UPDATE OF u) AS unknown
WHERE e.id = unknown.id
RETURNING e.id, e.kind, e.state
"""


async def settle(connection: Connection, claims: Sequence[Claim]) -> None:
    """Move on claims of one tenant whose sender died, or of which the provider never spoke."""
    lost = [claim for claim in claims if claim.state == "sending"]
    overdue = [claim for claim in claims if claim.state == "unknown"]
    if lost:
        await connection.execute(MESSAGES_LOST, _keys(lost))
        await _move(connection, EFFECTS_LOST, _keys(lost) | {"window_s": UNKNOWN_WINDOW_S})
    if overdue:
        await _move(connection, EFFECTS_OVERDUE, _keys(overdue) | {"resends_max": RESENDS_MAX})


async def _move(connection: Connection, statement: str, keys: dict[str, Any]) -> None:
    for row in await (await connection.execute(statement.encode(), keys)).fetchall():
        outcome = "resent" if row["state"] == "queued" else row["state"]
        EFFECTS.labels(row["kind"], outcome).inc()
        log.warning("effect_settled_without_answer", effect_id=row["id"], outcome=outcome)


def _keys(claims: Sequence[Claim]) -> dict[str, Any]:
    return {"ids": [claim.effect_id for claim in claims], "fences": [claim.fence for claim in claims]}
