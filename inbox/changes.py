"""What happens to a message after it was written: edits, revokes, reactions and statuses.

Each is kept as it came, and the message is computed from all of them, so the order in which they arrive does not
matter, and one that arrives before its message waits for it.
"""

from typing import Any

from psycopg.types.json import Jsonb

from channels.events import MessageEdited, MessageRevoked, ReactionChanged, StatusChanged
from core.ids import ContactId
from db.pools import Connection

#: Whoever writes a message of a person holds the same lock. Without it, what two workers write of one person at the
#: same moment is not seen by either: a change would miss its message, and of two edits the older could have the last
#: word.
ONE_AT_A_TIME = """
SELECT FROM conversations WHERE account_id = %(account_id)s AND contact_id = %(contact_id)s FOR NO KEY UPDATE
"""

KEEP_CHANGE = """
INSERT INTO message_changes (account_id, event_key, target_message_id, kind, contact_id, text, emoji, provider_ts)
VALUES (%(account_id)s, %(event_key)s, %(target)s, %(kind)s, %(contact_id)s, %(text)s, %(emoji)s, %(provider_ts)s)
ON CONFLICT DO NOTHING
"""

#: Only the writer of a message may edit or revoke it; anyone in the conversation may react.
APPLY_CHANGES = """
WITH target AS (
  SELECT m.id, m.direction, c.contact_id FROM messages m JOIN conversations c ON c.id = m.conversation_id
  WHERE m.account_id = %(account_id)s AND m.provider_message_id = %(target)s
), changes AS (
  SELECT c.*, t.direction, t.contact_id AS writer FROM message_changes c, target t
  WHERE c.account_id = %(account_id)s AND c.target_message_id = %(target)s AND c.contact_id = t.contact_id
), edit AS (
  SELECT text FROM changes WHERE kind = 'edit' AND direction = 'inbound'
  ORDER BY provider_ts DESC NULLS LAST, event_key DESC LIMIT 1
), reaction AS (
  SELECT DISTINCT ON (contact_id) contact_id, emoji FROM changes WHERE kind = 'reaction'
  ORDER BY contact_id, provider_ts DESC NULLS LAST, event_key DESC
)
UPDATE messages m SET
  deleted = EXISTS (SELECT FROM changes WHERE kind = 'revoke' AND direction = 'inbound'),
  edited = EXISTS (SELECT FROM edit),
  text = CASE
    WHEN EXISTS (SELECT FROM changes WHERE kind = 'revoke' AND direction = 'inbound') THEN NULL
    WHEN EXISTS (SELECT FROM edit) THEN (SELECT text FROM edit)
    ELSE m.text END,
  reactions = coalesce((SELECT jsonb_object_agg(contact_id, emoji) FROM reaction WHERE emoji IS NOT NULL), '{}')
FROM target WHERE m.id = target.id
"""

KEEP_STATUS = """
INSERT INTO message_statuses (account_id, event_key, provider_message_id, correlation, status, faults, provider_ts)
VALUES (%(account_id)s, %(event_key)s, %(provider_message_id)s, %(correlation)s, %(status)s, %(faults)s,
        %(provider_ts)s)
ON CONFLICT DO NOTHING
"""

#: Statuses only move forward; `failed` is the end of every road.
APPLY_STATUS = """
UPDATE messages SET
  provider_message_id = coalesce(provider_message_id, %(provider_message_id)s),
  status = CASE
    WHEN array_position(ARRAY['queued', 'sending', 'unknown', 'sent', 'delivered', 'read', 'failed'], status)
       < array_position(ARRAY['queued', 'sending', 'unknown', 'sent', 'delivered', 'read', 'failed'], %(status)s)
    THEN %(status)s ELSE status END,
  faults = CASE WHEN %(status)s = 'failed' THEN %(faults)s ELSE faults END
WHERE direction = 'outbound'
  AND ((account_id = %(account_id)s AND provider_message_id = %(provider_message_id)s) OR effect_key = %(correlation)s)
"""

#: The provider speaks of our effect, so it has it: whatever became of our own call, it is not to be sent again.
SETTLE_EFFECT = """
UPDATE core.effects SET
  state = CASE WHEN %(status)s = 'failed' THEN 'failed' ELSE 'sent' END,
  provider_message_id = coalesce(provider_message_id, %(provider_message_id)s), lease_until = NULL, error = NULL
WHERE tenant_id = current_user AND key = %(correlation)s AND account_id = %(account_id)s
  AND state IN ('queued', 'sending', 'unknown', 'parked')
"""


async def apply_change(
    connection: Connection,
    account_id: str,
    contact_id: ContactId,
    event: MessageEdited | MessageRevoked | ReactionChanged,
    *,
    text: str | None,
) -> None:
    """Keep one change and recompute the message it is about. `text` is the edit's words, already masked."""
    values = {
        "account_id": account_id,
        "event_key": event.event_key,
        "target": event.target_message_id,
        "kind": event.kind.removeprefix("message_")
        .removesuffix("_changed")
        .replace("edited", "edit")
        .replace("revoked", "revoke"),
        "contact_id": contact_id,
        "text": text,
        "emoji": event.emoji if isinstance(event, ReactionChanged) else None,
        "provider_ts": event.provider_ts,
    }
    await connection.execute(ONE_AT_A_TIME, values)
    await connection.execute(KEEP_CHANGE, values)
    await recompute(connection, account_id, event.target_message_id)


async def recompute(connection: Connection, account_id: str, provider_message_id: str) -> None:
    """Apply every change that is kept for a message; nothing happens while there is no such message."""
    await connection.execute(APPLY_CHANGES, {"account_id": account_id, "target": provider_message_id})


async def apply_status(connection: Connection, account_id: str, event: StatusChanged) -> None:
    """Keep one status, move the message forward, and settle the effect whose echo this is."""
    values: dict[str, Any] = {  # Any: the values of one row
        "account_id": account_id,
        "event_key": event.event_key,
        "provider_message_id": event.provider_message_id,
        "correlation": event.correlation,
        "status": event.status,
        "faults": Jsonb([fault.model_dump() for fault in event.faults]),
        "provider_ts": event.provider_ts,
    }
    await connection.execute(KEEP_STATUS, values)
    await connection.execute(APPLY_STATUS, values)
    if event.correlation:
        await connection.execute(SETTLE_EFFECT, values)
