"""What a turn works with: the unanswered messages of a conversation and what surrounds them, as plain JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.rows import DictRow

from channels.messages import ReadAndTyping
from db.pools import Connection
from graphs.effects import effect_key
from graphs.run_claim import ClaimedRun
from inbox.order import SAID_AT
from outbox.effects import queue_read_and_typing

#: A burst larger than this is answered in several turns.
MESSAGES_MAX = 50
#: How many earlier messages the agent sees.
WINDOW_MESSAGES_MAX = 20

SCENE = """
SELECT c.contact_id, c.account_id, c.channel, c.recipient, c.owner, c.summary, t.name, t.settings,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('run_id', r.id, 'graph', r.graph, 'questions', r.interrupts)), '[]')
   FROM core.runs r WHERE r.conversation_id = c.id AND r.state = 'waiting') AS waiting,
  (SELECT coalesce(jsonb_agg(jsonb_build_object(
     'run_id', r.id, 'graph', r.graph, 'state', r.state, 'outcome', r.outcome)), '[]')
   FROM core.runs r WHERE r.conversation_id = c.id AND r.kind <> 'turn' AND NOT r.dry_run AND r.reported_to IS NULL
     AND r.state IN ('succeeded', 'failed', 'dead', 'cancelled')) AS finished
FROM conversations c, core.tenants t WHERE c.id = %(conversation_id)s
"""

UNANSWERED = f"""
SELECT id, provider_message_id, kind, text, payload, attachments, reply_to, provider_ts
FROM messages
WHERE conversation_id = %(conversation_id)s AND needs_answer AND run_id IS NULL AND NOT deleted
ORDER BY {SAID_AT}, sequence LIMIT %(limit)s
""".encode()

WINDOW = f"""
SELECT direction, author, kind, text FROM (
  SELECT direction, author, kind, text, {SAID_AT} AS at, sequence FROM messages
  WHERE conversation_id = %(conversation_id)s AND NOT deleted AND text IS NOT NULL AND NOT id = ANY(%(taken)s)
  ORDER BY sequence DESC LIMIT %(limit)s) AS latest
ORDER BY at, sequence
""".encode()


async def turn_input(connection: Connection, turn: ClaimedRun) -> dict[str, Any] | None:
    """The input of a turn that begins now; None when there is nothing to answer. Any: JSON, fields of the state."""
    keys: dict[str, Any] = {"conversation_id": turn.conversation_id}
    scene = await (await connection.execute(SCENE, keys)).fetchone()
    assert scene is not None
    unanswered = await (await connection.execute(UNANSWERED, keys | {"limit": MESSAGES_MAX})).fetchall()
    if scene["owner"] == "person" or not (unanswered or scene["finished"]):
        return None
    window_keys = keys | {"taken": [row["id"] for row in unanswered], "limit": WINDOW_MESSAGES_MAX}
    window = await (await connection.execute(WINDOW, window_keys)).fetchall()
    await _show_reading(connection, turn, scene["account_id"], unanswered)
    return {
        **identity(turn, scene),
        "owner": scene["owner"],
        "profile": {"name": scene["name"]} | scene["settings"].get("profile", {}),
        "trigger": [_trigger(row) for row in unanswered],
        "messages": [
            {"role": "user" if row["direction"] == "inbound" else "assistant", "content": row["text"]} for row in window
        ],
        "summary": scene["summary"],
        "waiting": scene["waiting"],
        "finished": scene["finished"],
    }


def identity(run: ClaimedRun, conversation: Mapping[str, Any]) -> dict[str, Any]:  # Any: a row in, JSON out
    """Who a run acts for and to whom it speaks, from a row with the conversation's columns."""
    return {
        "tenant_id": run.tenant_id,
        "conversation_id": run.conversation_id,
        "contact_id": conversation["contact_id"],
        "account_id": conversation["account_id"],
        "channel": conversation["channel"],
        "recipient": conversation["recipient"],
    }


def _trigger(row: DictRow) -> dict[str, Any]:  # Any: JSON
    return {
        "message_id": row["id"],
        "provider_message_id": row["provider_message_id"],
        "kind": row["kind"],
        "text": row["text"],
        "payload": row["payload"],
        "attachments": row["attachments"],
        "reply_to": row["reply_to"],
        "provider_ts": row["provider_ts"].isoformat() if row["provider_ts"] else None,
    }


async def _show_reading(
    connection: Connection, turn: ClaimedRun, account_id: str, unanswered: Sequence[Mapping[str, Any]]
) -> None:
    """Show the person that their last message was read and that an answer is being written."""
    last = next((row for row in reversed(unanswered) if row["provider_message_id"]), None)
    if last is not None:
        await queue_read_and_typing(
            connection,
            key=effect_key(turn.tenant_id, turn.run_id, path="start", slot="read_and_typing", index=0),
            run_id=turn.run_id,
            conversation_id=turn.conversation_id,
            account_id=account_id,
            message=ReadAndTyping(provider_message_id=last["provider_message_id"]),
        )
