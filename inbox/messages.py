"""Writing one message into its conversation: unique by the provider's id, and masked, for here text is first clear."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from channels.events import Media, MessageEchoed, MessageReceived
from core.crypto import Sealer
from core.ids import MessageId, new_id
from db.pools import Connection
from inbox.changes import recompute
from inbox.claim import Row
from inbox.contacts import ConversationRef
from inbox.debounce import PIECES_MAX
from inbox.mask import mask
from inbox.order import SAID_AT

#: `earlier`: when the unanswered ones among the newest messages before it were said.
INSERT = f"""
INSERT INTO messages (id, conversation_id, account_id, direction, author, kind, text, payload, attachments, faults,
                      masked_hashes, provider_message_id, reply_to, provider_ts, received_ts, status, needs_answer,
                      trace_id)
VALUES (%(id)s, %(conversation_id)s, %(account_id)s, %(direction)s, %(author)s, %(kind)s, %(text)s, %(payload)s,
        %(attachments)s, %(faults)s, %(masked_hashes)s, %(provider_message_id)s, %(reply_to)s, %(provider_ts)s,
        %(received_ts)s, %(status)s, %(needs_answer)s, %(trace_id)s)
ON CONFLICT DO NOTHING
RETURNING EXISTS (SELECT FROM message_changes c WHERE c.account_id = %(account_id)s
                  AND c.target_message_id = %(provider_message_id)s) AS changes_wait,
  {SAID_AT} AS said_at, ARRAY(
    SELECT {SAID_AT} FROM (
      SELECT provider_ts, received_ts, needs_answer, run_id FROM messages m
      WHERE m.conversation_id = %(conversation_id)s ORDER BY m.sequence DESC LIMIT {PIECES_MAX}) AS newest
    WHERE needs_answer AND run_id IS NULL) AS earlier
""".encode()


@dataclass(frozen=True, slots=True)
class Masking:
    """A text that may be stored and the keyed hashes of what was masked in it."""

    text: str | None
    hashes: list[str]


@dataclass(frozen=True, slots=True)
class Inserted:
    """A message that was not there before."""

    said_at: datetime
    #: When the unanswered ones among the newest messages before it were said.
    earlier: Sequence[datetime]

    @property
    def is_newest(self) -> bool:
        """Whether nothing unanswered was said after it."""
        return self.said_at >= max(self.earlier, default=self.said_at)


async def insert_message(
    connection: Connection,
    sealer: Sealer,
    account_id: str,
    conversation: ConversationRef,
    event: MessageReceived | MessageEchoed,
    row: Row,
    **columns: Any,  # Any: the columns in which the two directions differ
) -> Inserted | None:
    """Write the message of one event and its row; None where it was there already."""
    masking = masked(sealer, event.text)
    values = {
        "id": MessageId(new_id("msg")),
        "conversation_id": conversation.id,
        "account_id": account_id,
        "kind": event.message_kind,
        "text": masking.text,
        "masked_hashes": masking.hashes,
        "attachments": Jsonb([_attachment(sealer, media) for media in event.media]),
        "provider_message_id": event.provider_message_id,
        "provider_ts": event.provider_ts,
        "received_ts": row["received_at"],
        "trace_id": row["trace_id"],
    }
    cursor = await connection.execute(INSERT, values | columns | {"faults": Jsonb(columns["faults"])})
    inserted = await cursor.fetchone()
    if inserted is None:
        return None
    if inserted["changes_wait"]:
        await recompute(connection, account_id, event.provider_message_id)
    return Inserted(inserted["said_at"], inserted["earlier"])


def masked(sealer: Sealer, text: str | None) -> Masking:
    """The text without the numbers that may not be stored."""
    if text is None:
        return Masking(None, [])
    found = mask(text)
    return Masking(found.text, [sealer.keyed_hash(number) for number in found.numbers])


def _attachment(sealer: Sealer, media: Media) -> dict[str, object]:
    return {
        "id": new_id("att"),
        "mime": media.mime,
        "name": masked(sealer, media.name).text,
        "size_bytes": None,
        "state": "remote",
        "provider_media_id": media.provider_media_id,
        "sha256": media.sha256,
        "voice": media.voice,
    }
