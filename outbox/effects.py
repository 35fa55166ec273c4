"""Queueing: an effect and the message that shows it are written in the caller's transaction, once per key."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from psycopg.types.json import Jsonb

from channels.messages import OUTBOUND, OutboundButtons, OutboundList, OutboundText, ReadAndTyping
from core.ids import EffectId, MessageId, new_id
from core.telemetry import trace_id
from db.pools import Connection

Delivery: TypeAlias = Literal["at_least_once", "at_most_once"]

INSERT_EFFECT = """
INSERT INTO core.effects (id, tenant_id, key, kind, run_id, conversation_id, account_id, message_id, payload, delivery,
                          trace_id)
VALUES (%(id)s, current_user, %(key)s, %(kind)s, %(run_id)s, %(conversation_id)s, %(account_id)s, %(message_id)s,
        %(payload)s, %(delivery)s, %(trace_id)s)
ON CONFLICT (tenant_id, key) DO NOTHING
"""

INSERT_MESSAGE = """
INSERT INTO messages (id, conversation_id, account_id, direction, author, kind, text, citations, reply_to, status,
                      run_id, effect_key, trace_id)
VALUES (%(message_id)s, %(conversation_id)s, %(account_id)s, 'outbound', %(author)s, %(message_kind)s, %(text)s,
        %(citations)s, %(reply_to)s, 'queued', %(run_id)s, %(key)s, %(trace_id)s)
ON CONFLICT (effect_key) DO NOTHING
"""


async def queue_message(
    connection: Connection,
    *,
    key: str,
    run_id: str,
    conversation_id: str,
    account_id: str,
    message: OutboundText | OutboundButtons | OutboundList,
    author: Literal["agent", "human"] = "agent",
    delivery: Delivery,
    citations: Sequence[Mapping[str, Any]],  # Any: JSON, as the agent's decision states it
) -> None:
    """Queue one message to a person and show it in the transcript as queued. The same key again adds nothing."""
    values = {
        "message_id": MessageId(new_id("msg")),
        "message_kind": "text" if message.kind == "text" else "interactive",
        "text": message.text,
        "citations": Jsonb(list(citations)),
        "reply_to": message.reply_to,
        "author": author,
        "delivery": delivery,
    } | _common(key, run_id, conversation_id, account_id, message)
    inserted = await connection.execute(INSERT_EFFECT, values)
    if inserted.rowcount:
        await connection.execute(INSERT_MESSAGE, values)


async def queue_read_and_typing(
    connection: Connection, *, key: str, run_id: str, conversation_id: str, account_id: str, message: ReadAndTyping
) -> None:
    """Queue the sign that we are reading. It has no message of its own and is not worth a second try."""
    values = {"message_id": None, "delivery": "at_most_once"}
    await connection.execute(INSERT_EFFECT, values | _common(key, run_id, conversation_id, account_id, message))


def _common(
    key: str, run_id: str, conversation_id: str, account_id: str,
    message: OutboundText | OutboundButtons | OutboundList | ReadAndTyping,
) -> dict[str, object]:  # fmt: skip
    return {
        "id": EffectId(new_id("eff")),
        "key": key,
        "kind": "read_and_typing" if isinstance(message, ReadAndTyping) else "send",
        "run_id": run_id,
        "conversation_id": conversation_id,
        "account_id": account_id,
        "payload": Jsonb(OUTBOUND.dump_python(message, mode="json")),
        "trace_id": trace_id.get(),
    }
