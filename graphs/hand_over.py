"""Handing a conversation over to the organisation's people, and back to the agent.

Over: it awaits a person, and a run of the hand-off graph waits for what they say.
"""

from core.ids import ConversationId
from db.pools import Connection
from graphs.run_claim import ClaimedRun
from graphs.waiting import insert_waiting_run

#: How long the question stays open.
WAIT_S = 72 * 3600.0
#: What silence means: the conversation stays with the people.
DEFAULT = {"action": "leave"}

HAND_OVER = """
UPDATE conversations SET owner = 'awaiting_person', handed_off_at = clock_timestamp(), hand_off_reason = %(reason)s,
       hand_off_summary = %(summary)s
WHERE id = %(conversation_id)s AND owner = 'agent'
"""

HAND_BACK = """
UPDATE conversations SET owner = 'agent', handed_off_at = NULL, hand_off_reason = NULL, hand_off_summary = NULL
WHERE id = %s AND owner = 'awaiting_person'
"""


async def hand_over(connection: Connection, run: ClaimedRun, *, reason: str, summary: str) -> None:
    """Await a person, unless one is awaited or at it already. `summary` is what they read first."""
    case = {"reason": reason, "summary": summary}
    handed_over = await connection.execute(HAND_OVER, case | {"conversation_id": run.conversation_id})
    if handed_over.rowcount:
        await insert_waiting_run(
            connection, run, graph="hand_off", values={"hand_off": case}, wait_s=WAIT_S, default=DEFAULT, wake=False
        )


async def hand_back(connection: Connection, conversation_id: ConversationId) -> None:
    """Let the agent answer again, where a person was awaited. One who has taken over keeps the conversation."""
    await connection.execute(HAND_BACK, (conversation_id,))
