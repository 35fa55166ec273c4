"""What became of a message that was handed over: one transaction that writes it, under the fence it was sent with.

Where another process has taken over meanwhile nothing is written: the provider's status then settles the effect. The
message is locked before its effect, as the inbox does when that status comes at the same moment.
"""

from typing import Any

from psycopg.types.json import Jsonb

from channels.accounts import stop_account
from channels.events import ProviderFault
from core.errors import FenceLost, ProviderRefused, ProviderUnclear
from core.telemetry import EFFECTS
from db.pools import Connection
from outbox.begin import Sending
from outbox.policy import ATTEMPTS_MAX, UNKNOWN_WINDOW_S, retry_delay_s

ERROR_CHARACTERS_MAX = 2_000

#: Statuses that came before we knew the provider's id count now. A status only moves forward; `failed` ends it.
#: Where an echo has made a message of that id already, the effect alone keeps it.
MESSAGE_SENT = """
WITH known AS (
  SELECT status, faults FROM message_statuses
  WHERE account_id = %(account_id)s AND provider_message_id = %(provider_message_id)s
  ORDER BY array_position(ARRAY['sent', 'delivered', 'read', 'failed'], status) DESC LIMIT 1
), furthest AS (
  SELECT coalesce((SELECT status FROM known), 'sent') AS status
)
UPDATE messages m SET
  provider_message_id = coalesce(m.provider_message_id, (
    SELECT %(provider_message_id)s::text WHERE NOT EXISTS (SELECT FROM messages other
      WHERE other.account_id = m.account_id AND other.provider_message_id = %(provider_message_id)s))),
  status = CASE WHEN m.status IN ('queued', 'sending', 'unknown') THEN furthest.status ELSE m.status END,
  faults = CASE WHEN m.status IN ('queued', 'sending', 'unknown') AND furthest.status = 'failed'
                THEN (SELECT faults FROM known) ELSE m.faults END
FROM furthest WHERE m.id = %(message_id)s
"""

EFFECT_SENT = """
UPDATE core.effects e SET
  state = CASE WHEN e.state = 'sending' THEN 'sent' ELSE e.state END, error = NULL, lease_until = NULL,
  provider_message_id = coalesce(e.provider_message_id, %(provider_message_id)s)
WHERE e.id = %(id)s AND e.fence = %(fence)s
RETURNING e.state, EXISTS (SELECT FROM core.effects later
  WHERE later.conversation_id = e.conversation_id AND later.state = 'queued' AND later.id <> e.id) AS more
"""

#: Only while nothing else is known of it: a status that came first knows better.
MESSAGE_NOT_SENT = """
UPDATE messages SET status = %(status)s, faults = coalesce(%(faults)s, faults)
WHERE id = %(message_id)s AND status IN ('sending', 'unknown')
"""

EFFECT_NOT_SENT = """
UPDATE core.effects e SET
  state = CASE WHEN e.state = 'sending' THEN %(state)s ELSE e.state END,
  error = CASE WHEN e.state = 'sending' THEN %(error)s ELSE e.error END,
  due_at = clock_timestamp() + make_interval(secs => %(wait_s)s), lease_until = NULL
WHERE e.id = %(id)s AND e.fence = %(fence)s
RETURNING e.state, EXISTS (SELECT FROM core.effects later
  WHERE later.conversation_id = e.conversation_id AND later.state = 'queued' AND later.id <> e.id) AS more
"""


async def write_sent(connection: Connection, sending: Sending, provider_message_id: str | None) -> bool:
    """The provider took it. Gives whether the conversation has more to send.

    Raises:
        FenceLost: another process has taken over.
    """
    keys = _keys(sending) | {"provider_message_id": provider_message_id}
    return await _write(connection, MESSAGE_SENT, EFFECT_SENT, keys, sending)


async def write_refused(connection: Connection, sending: Sending, refusal: ProviderRefused, *, jitter: float) -> bool:
    """The provider said no, so it has nothing: what helps decides. Gives whether the conversation has more to send.

    Raises:
        FenceLost: another process has taken over.
    """
    retries = refusal.remedy == "retry" and sending.kind == "send"
    if retries and sending.attempt < ATTEMPTS_MAX:
        delay_s = retry_delay_s(attempts=sending.attempt, retry_after_s=refusal.retry_after_s, jitter=jitter)
        return await _write_not_sent(connection, sending, "queued", "queued", refusal.message, wait_s=delay_s)
    if refusal.remedy == "stop":
        reason = f"{refusal.provider_code}: {refusal.message}"
        await stop_account(connection, sending.account.id, reason=reason[:ERROR_CHARACTERS_MAX])
    state = "failed" if refusal.remedy == "person" or sending.kind == "read_and_typing" else "parked"
    fault = ProviderFault.model_validate(
        {"code": refusal.provider_code, "title": refusal.message, "remedy": refusal.remedy}
    )
    return await _write_not_sent(connection, sending, state, "failed", refusal.message, fault=fault)


async def write_unclear(connection: Connection, sending: Sending, unclear: ProviderUnclear) -> bool:
    """It may have been sent: nobody sends it again before the provider had time to speak of it.

    A sign of reading is not worth the question. Gives whether the conversation has more to send.

    Raises:
        FenceLost: another process has taken over.
    """
    state = "failed" if sending.kind == "read_and_typing" else "unknown"
    return await _write_not_sent(connection, sending, state, "unknown", unclear.message, wait_s=UNKNOWN_WINDOW_S)


async def _write_not_sent(
    connection: Connection,
    sending: Sending,
    state: str,
    status: str,
    error: str,
    *,
    wait_s: float = 0.0,
    fault: ProviderFault | None = None,
) -> bool:
    keys = _keys(sending) | {
        "state": state,
        "status": status,
        "error": error[:ERROR_CHARACTERS_MAX],
        "wait_s": wait_s,
        "faults": None if fault is None else Jsonb([fault.model_dump()]),
    }
    return await _write(connection, MESSAGE_NOT_SENT, EFFECT_NOT_SENT, keys, sending)


async def _write(
    connection: Connection, of_message: str, of_effect: str, keys: dict[str, Any], sending: Sending
) -> bool:
    if sending.message_id is not None:
        await connection.execute(of_message.encode(), keys)
    row = await (await connection.execute(of_effect.encode(), keys)).fetchone()
    if row is None:
        raise FenceLost(f"effect {sending.effect_id} is no longer held under fence {sending.fence}")
    EFFECTS.labels(sending.kind, "retried" if row["state"] == "queued" else row["state"]).inc()
    return bool(row["more"])


def _keys(sending: Sending) -> dict[str, Any]:
    return {
        "id": sending.effect_id,
        "fence": sending.fence,
        "message_id": sending.message_id,
        "account_id": sending.account.id,
    }
