"""Beginning a turn: what the graph is given, fixed in the run's row before the first step.

A run that is claimed again gets the very same input, so that it goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from channels.messages import ReadAndTyping
from core.errors import FenceLost
from db.pools import Connection, Database
from db.transactions import tenant_tx
from graphs.effects import effect_key
from graphs.turn_claim import ClaimedTurn
from outbox.effects import queue_read_and_typing

#: A burst larger than this is answered in several turns.
MESSAGES_MAX = 50
#: How many earlier messages the agent sees.
WINDOW_MESSAGES_MAX = 20

RUN = "SELECT input FROM core.runs WHERE id = %(run_id)s AND fence = %(fence)s AND state = 'running'"

SCENE = """
SELECT c.id, c.contact_id, c.account_id, c.channel, c.recipient, c.owner, c.summary, t.name, t.settings,
  (SELECT coalesce(max(s.position) + 1, 0) FROM core.run_steps s WHERE s.run_id = %(run_id)s) AS next_step,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('run_id', r.id, 'graph', r.graph, 'waits_for', r.waits_for)), '[]')
   FROM core.runs r WHERE r.conversation_id = c.id AND r.state = 'waiting') AS waiting
FROM conversations c, core.tenants t WHERE c.id = %(conversation_id)s
"""

UNANSWERED = """
SELECT id, provider_message_id, kind, text, payload, attachments, reply_to, provider_ts
FROM messages
WHERE conversation_id = %(conversation_id)s AND needs_answer AND run_id IS NULL AND NOT deleted
ORDER BY coalesce(provider_ts, received_ts), sequence LIMIT %(limit)s
"""

WINDOW = """
SELECT direction, author, kind, text FROM (
  SELECT direction, author, kind, text, coalesce(provider_ts, received_ts) AS at, sequence FROM messages
  WHERE conversation_id = %(conversation_id)s AND NOT deleted AND text IS NOT NULL AND NOT id = ANY(%(taken)s)
  ORDER BY sequence DESC LIMIT %(limit)s) AS latest
ORDER BY at, sequence
"""

BEGIN = """
UPDATE core.runs SET input = %(input)s, prompt_refs = %(prompt_refs)s, graph_version = %(graph_version)s,
       model = %(model)s
WHERE id = %(run_id)s AND fence = %(fence)s AND state = 'running'
"""


@dataclass(frozen=True, slots=True)
class Pins:
    """What a run keeps for its whole life, however often the software changes meanwhile."""

    graph_version: str
    #: Prompt id to `version@sha256`.
    prompt_refs: Mapping[str, str]
    model: str


@dataclass(frozen=True, slots=True)
class TurnInput:
    """What a turn works with: plain JSON, as stored in the run's row, so that it is the same at every attempt."""

    values: Mapping[str, Any]  # Any: JSON
    #: The position of the next step to record; above 0 when the run goes on after an interruption.
    next_step: int

    @property
    def message_ids(self) -> list[str]:
        """The messages that this turn answers."""
        return [message["message_id"] for message in self.values["trigger"]]

    def graph_input(self) -> dict[str, Any]:  # Any: JSON in, the graph's input out
        """The same as the graph takes it, with what the last turn on the thread left behind cleared."""
        cleared = {"recalled": None, "route": None, "draft": None, "decision": None, "effects": [], "trail": []}
        return {**self.values, **cleared}


async def start_turn(database: Database, turn: ClaimedTurn, pins: Pins) -> TurnInput | None:
    """Fix the turn's input, or find the one fixed before; None when there is nothing to answer any more.

    Raises:
        FenceLost: another process holds the conversation by now.
    """
    keys = {"run_id": turn.run_id, "fence": turn.fence, "conversation_id": turn.conversation_id}
    async with tenant_tx(database, turn.tenant_id, commit="turn.start") as connection:
        run = await (await connection.execute(RUN, keys)).fetchone()
        if run is None:
            raise FenceLost(f"run {turn.run_id} is no longer held under fence {turn.fence}")
        scene = await (await connection.execute(SCENE, keys)).fetchone()
        assert scene is not None
        if run["input"] is not None:
            return TurnInput(run["input"], scene["next_step"])
        unanswered = await (await connection.execute(UNANSWERED, keys | {"limit": MESSAGES_MAX})).fetchall()
        if not unanswered or scene["owner"] == "person":
            return None
        taken = [row["id"] for row in unanswered]
        window_keys = keys | {"taken": taken, "limit": WINDOW_MESSAGES_MAX}
        window = await (await connection.execute(WINDOW, window_keys)).fetchall()
        values = _input(turn, scene, unanswered, window, pins)
        await connection.execute(
            BEGIN,
            keys
            | {
                "input": Jsonb(values),
                "prompt_refs": Jsonb(dict(pins.prompt_refs)),
                "graph_version": pins.graph_version,
                "model": pins.model,
            },
        )
        await _show_reading(connection, turn, scene["account_id"], unanswered)
    return TurnInput(values, scene["next_step"])


def _input(
    turn: ClaimedTurn,
    scene: Mapping[str, Any],
    unanswered: Sequence[Mapping[str, Any]],
    window: Sequence[Mapping[str, Any]],
    pins: Pins,
) -> dict[str, Any]:  # Any: JSON
    return {
        "tenant_id": turn.tenant_id,
        "conversation_id": turn.conversation_id,
        "contact_id": scene["contact_id"],
        "account_id": scene["account_id"],
        "channel": scene["channel"],
        "run_id": turn.run_id,
        "graph_version": pins.graph_version,
        "prompt_refs": dict(pins.prompt_refs),
        "recipient": scene["recipient"],
        "owner": scene["owner"],
        "profile": {"name": scene["name"]} | scene["settings"].get("profile", {}),
        "trigger": [_trigger(row) for row in unanswered],
        "messages": [
            {"role": "user" if row["direction"] == "inbound" else "assistant", "content": row["text"]} for row in window
        ],
        "summary": scene["summary"],
        "waiting": scene["waiting"],
    }


def _trigger(row: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
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
    connection: Connection, turn: ClaimedTurn, account_id: str, unanswered: Sequence[Mapping[str, Any]]
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
