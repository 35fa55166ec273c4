"""Beginning to send: the last look before a socket opens, and the commit that says we are about to.

In come claims of one tenant; out go the messages that may leave. What may not leave any more is dropped: its effect
is `superseded` with the reason, and its message, which nobody ever saw, is deleted from the transcript.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from channels.accounts import Account, account
from channels.events import ProviderFault
from channels.messages import OUTBOUND, OutboundMessage
from core.crypto import Sealer
from core.errors import Broken, NotFound
from core.ids import AccountId, ConversationId, EffectId, TenantId
from core.log import logger
from core.telemetry import EFFECTS
from db.pools import Connection
from outbox.claim import Claim
from outbox.policy import READ_AND_TYPING_AGE_S_MAX, Facts, judge

log = logger(__name__)

#: From the commit of `sending` to the answer's own commit. Longer than a call may take: see `deliver.CALL_S_MAX`.
SENDING_LEASE_S = 30.0

#: A takeover that commits first is seen; one that comes later waits until `sending` is committed.
HOLD = """
WITH claimed AS (SELECT * FROM unnest(%(ids)s::text[], %(fences)s::bigint[]) AS mine (id, fence)),
scene AS (SELECT id, owner FROM conversations WHERE id = ANY(%(conversations)s) ORDER BY id FOR SHARE)
SELECT e.id, e.tenant_id, e.fence, e.key, e.kind, e.payload, e.run_id, e.conversation_id, e.account_id, e.message_id,
  e.attempts + 1 AS attempt, e.trace_id, scene.owner,
  e.created_at < clock_timestamp() - make_interval(secs => %(age_s_max)s) AS stale,
  EXISTS (SELECT FROM core.runs r WHERE r.id = e.run_id AND r.state <> 'running') AS run_over
FROM core.effects e JOIN claimed ON claimed.id = e.id AND claimed.fence = e.fence
  LEFT JOIN scene ON scene.id = e.conversation_id
WHERE e.state = 'queued' ORDER BY e.created_at, e.id FOR UPDATE OF e
"""

BEGIN = """
WITH begun AS (
  UPDATE core.effects SET state = 'sending', attempts = attempts + 1, sending_at = clock_timestamp(), error = NULL,
         lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)
  WHERE id = ANY(%(ids)s) RETURNING message_id)
UPDATE messages SET status = 'sending' WHERE id IN (SELECT message_id FROM begun) AND status IN ('queued', 'unknown')
"""

#: A message that may have left before stays in the transcript as `unknown`.
DROP = """
WITH dropped AS (
  UPDATE core.effects SET state = 'superseded', error = %(reason)s, lease_until = NULL
  WHERE id = %(id)s RETURNING message_id)
DELETE FROM messages WHERE id IN (SELECT message_id FROM dropped) AND status = 'queued'
"""

PARK = """
WITH parked AS (
  UPDATE core.effects SET state = 'parked', error = %(reason)s, lease_until = NULL
  WHERE id = %(id)s RETURNING message_id)
UPDATE messages SET status = 'failed', faults = %(faults)s
WHERE id IN (SELECT message_id FROM parked) AND status = 'queued'
"""

WAIT = "UPDATE core.effects SET lease_until = NULL WHERE id = %(id)s"


@dataclass(frozen=True, slots=True)
class Sending:
    """A message whose effect is committed as `sending` under this fence: hand it over, once."""

    effect_id: EffectId
    tenant_id: TenantId
    conversation_id: ConversationId
    message_id: str | None
    fence: int
    #: Handed to the provider as correlation.
    key: str
    kind: str
    message: OutboundMessage
    account: Account
    #: Which attempt this is, from 1.
    attempt: int
    trace_id: str


async def begin(connection: Connection, sealer: Sealer, claims: Sequence[Claim]) -> list[Sending]:
    """Mark as `sending` what may leave now; needs the tenant's transaction, and means nothing before it commits."""
    rows = await _hold(connection, claims)
    accounts = await _accounts(connection, sealer, {row["account_id"] for row in rows})
    sendings: list[Sending] = []
    for row in rows:
        found = accounts[row["account_id"]]
        if isinstance(found, Broken):
            continue
        sending = await _sending(connection, row, found)
        if sending is not None:
            sendings.append(sending)
    if sendings:
        ids = [sending.effect_id for sending in sendings]
        await connection.execute(BEGIN, {"ids": ids, "lease_s": SENDING_LEASE_S})
    return sendings


async def _hold(connection: Connection, claims: Sequence[Claim]) -> list[DictRow]:
    """Lock what is still ours, the oldest first, with all that the policy wants to know."""
    keys: dict[str, Any] = {
        "ids": [claim.effect_id for claim in claims],
        "fences": [claim.fence for claim in claims],
        "conversations": list({claim.conversation_id for claim in claims}),
        "age_s_max": READ_AND_TYPING_AGE_S_MAX,
    }
    return await (await connection.execute(HOLD, keys)).fetchall()


async def _accounts(
    connection: Connection, sealer: Sealer, account_ids: set[AccountId]
) -> Mapping[AccountId, Account | NotFound | Broken]:
    """The accounts, or why one cannot be used. One that does not open stops nobody else's messages."""
    found: dict[AccountId, Account | NotFound | Broken] = {}
    for account_id in account_ids:
        try:
            found[account_id] = await account(connection, sealer, account_id)
        except (NotFound, Broken) as error:
            log.warning("account_unusable", account_id=account_id, error=error.message)
            found[account_id] = error
    return found


async def _sending(connection: Connection, row: DictRow, found: Account | NotFound) -> Sending | None:
    """What is to be sent for this row; None where it stays here, and its row says why."""
    if isinstance(found, NotFound):
        await _park(connection, row, found.message)
        return None
    judgement = judge(_facts(row, found))
    if judgement.verdict == "wait":
        await connection.execute(WAIT, {"id": row["id"]})
        return None
    if judgement.verdict == "drop":
        await connection.execute(DROP, {"id": row["id"], "reason": judgement.reason})
        EFFECTS.labels(row["kind"], "superseded").inc()
        return None
    try:
        message = OUTBOUND.validate_python(row["payload"])
    except ValidationError as error:
        await _park(connection, row, f"the stored message is not of the vocabulary: {error.errors()[0]['msg']}")
        return None
    return Sending(
        effect_id=row["id"], tenant_id=row["tenant_id"], conversation_id=row["conversation_id"],
        message_id=row["message_id"], fence=row["fence"], key=row["key"], kind=row["kind"], message=message,
        account=found, attempt=row["attempt"], trace_id=row["trace_id"],
    )  # fmt: skip


def _facts(row: DictRow, found: Account) -> Facts:
    return Facts(
        is_sign_of_reading=row["kind"] == "read_and_typing",
        by_run=row["run_id"] is not None,
        owner=row["owner"],
        account_stopped=found.stopped,
        stale=row["stale"],
        run_over=row["run_over"],
    )


async def _park(connection: Connection, row: DictRow, reason: str) -> None:
    fault = ProviderFault(code="unsendable", title=reason, remedy="person")
    await connection.execute(PARK, {"id": row["id"], "reason": reason, "faults": Jsonb([fault.model_dump()])})
    EFFECTS.labels(row["kind"], "parked").inc()
    log.error("effect_unsendable", effect_id=row["id"], error=reason)
